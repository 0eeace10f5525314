package running

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/changes"
	"devlog/internal/names"
	"devlog/internal/pidfd"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
	"devlog/internal/rootfs/rootfstest"
	"devlog/internal/target"
)

// A record, which anybody in the container can write, never makes another process a
// receiver.
func TestProcess(t *testing.T) {
	ns, err := target.Namespace("self", "pid")
	if err != nil {
		t.Fatal(err)
	}
	at, path := rootfstest.Dir(t)
	pid, started := startReceiver(t, path)
	self, err := pidfd.StartTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	other, _ := rootfstest.Dir(t)
	for name, tt := range map[string]struct {
		record *changes.Changes
		at     *rootfs.Dir
		alive  bool
	}{
		"a receiver":         {&changes.Changes{Receiver: pid, PIDNS: ns, Started: started}, at, true},
		"another's receiver": {&changes.Changes{Receiver: pid, PIDNS: ns, Started: started}, other, false},
		"no receiver":        {&changes.Changes{Receiver: os.Getpid(), PIDNS: ns, Started: self}, at, false},
		"a later one":        {&changes.Changes{Receiver: pid, PIDNS: ns, Started: started + "0"}, at, false},
		"none":               {&changes.Changes{PIDNS: ns}, at, false},
		"no record":          {nil, at, false},
		"no such process":    {&changes.Changes{Receiver: 1 << 22, PIDNS: ns, Started: started}, at, false},
		"another namespace":  {&changes.Changes{Receiver: pid, PIDNS: ns + 1, Started: started}, at, true},
	} {
		if got := Alive(tt.record, &target.Target{Inside: true}, tt.at); got != tt.alive {
			t.Errorf("%s: alive = %t, want %t", name, got, tt.alive)
		}
		p := Process(tt.record, tt.at)
		if want := tt.alive && tt.record.PIDNS == ns; (p != nil) != want {
			t.Errorf("%s: process found %t, want %t", name, p != nil, want)
		}
		if p != nil {
			if got, err := pidfd.PID(int(p.Fd())); err != nil || got != pid {
				t.Errorf("%s: process %d, %v; want %d", name, got, err, pid)
			}
			p.Close()
		}
	}
}

// startReceiver starts a program called devlogd that has the directory open.
func startReceiver(t *testing.T, dir string) (pid int, started string) {
	t.Helper()
	exe := filepath.Join(t.TempDir(), names.Receiver)
	sleep, err := exec.LookPath("sleep")
	if err == nil {
		var data []byte
		if data, err = os.ReadFile(sleep); err == nil {
			err = os.WriteFile(exe, data, 0o700)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	cmd := exec.Command(exe, "1000")
	cmd.ExtraFiles = []*os.File{d}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if started, err = pidfd.StartTime(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, started
}

// Of the receivers that a killed repair leaves, the newest stays, and is recorded.
func TestSettle(t *testing.T) {
	ns, err := target.Namespace("self", "pid")
	if err != nil {
		t.Fatal(err)
	}
	at, path := rootfstest.Dir(t)
	inside := &target.Target{Inside: true, PIDNS: ns}
	none := changes.Changes{Receiver: 1 << 22, PIDNS: ns, Started: "1", Starting: ns}
	if err := CompleteStart(&none, at); err != nil || none.Starting != 0 || none.Receiver != 1<<22 {
		t.Errorf("no receiver: %v, %+v", err, none)
	}
	old, oldStarted := startReceiver(t, path)
	handle, err := pidfd.Open(old)
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	pid, started := startReceiver(t, path)
	r := changes.Changes{Receiver: old, PIDNS: ns, Started: oldStarted, Starting: ns}
	if f := Facts(&r, inside, at, plan.ReceiverFacts{}); f.State != plan.Running || f.PID != pid {
		t.Errorf("before: %+v, want %d", f, pid)
	}
	if !Sees(&r, inside) || Sees(&changes.Changes{Starting: ns + 1}, inside) || Sees(&changes.Changes{}, inside) {
		t.Error("Sees")
	}
	if f := Facts(&changes.Changes{Starting: ns + 1}, inside, at, plan.ReceiverFacts{}); f.State != plan.Elsewhere {
		t.Errorf("of another namespace: %+v", f)
	}
	if err := CompleteStart(&r, at); err != nil {
		t.Fatal(err)
	}
	if r.Receiver != pid || r.Started != started || r.PIDNS != ns || r.Starting != 0 {
		t.Errorf("recorded: %+v, want %d", r, pid)
	}
	if got := changes.Read(at); got == nil || got.Receiver != pid || got.Starting != 0 {
		t.Errorf("written: %+v", got)
	}
	fds := []unix.PollFd{{Fd: int32(handle.Fd()), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 60_000); n != 1 {
		t.Errorf("the older one still runs: %v", err)
	}
	if pids := In(at); len(pids) != 1 || pids[0] != pid {
		t.Errorf("running: %v, want %d", pids, pid)
	}
}
