package running

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"devlog/internal/changes"
	"devlog/internal/names"
	"devlog/internal/pidfd"
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
