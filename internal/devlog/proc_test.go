package devlog

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"devlog/internal/pidfd"
	"devlog/internal/rootfs"
)

func TestInnermostPID(t *testing.T) {
	for status, want := range map[string]int{
		"Name:\tsh\nNSpid:\t100\t7\t1\n": 1,
		"NSpid:\t42\n":                   42,
		"NSpid:\n":                       0,
		"Name:\tNSpid: 3\n":              0,
		"":                               0,
	} {
		if got := innermostPID(status); got != want {
			t.Errorf("innermostPID(%q) = %d, want %d", status, got, want)
		}
	}
}

func TestMappedRoot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "uid_map")
	high := uint32(3_000_000_000) // an int of 32 bits has it as the system calls do
	for text, want := range map[string]int{
		"         0          0 4294967295\n": 0,
		"0 3000000000 65536\n":               int(high),
		"0 4294967296 1\n":                   -1,
		"0 100000 65536\n":                   100000,
		"1 200000 10\n0 100000 1\n":          100000,
		"1000 1000 1\n":                      0,
		"":                                   0,
		"garbage\n":                          -1,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := mappedRoot(file)
		if (err != nil) != (want == -1) || err == nil && got != want {
			t.Errorf("mappedRoot of %q = %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestIsShared(t *testing.T) {
	for optional, want := range map[string]bool{
		"shared:1": true, "shared:7 master:2": true, "master:2": false, "": false, "unbindable": false, "propagate_from:shared:1": false,
	} {
		if got := isShared(optional); got != want {
			t.Errorf("isShared(%q) = %t", optional, got)
		}
	}
}

// TestProcess: a record, that anybody in the container can write, never makes
// a process a receiver that is none.
func TestProcess(t *testing.T) {
	ns, err := namespace("self", "pid")
	if err != nil {
		t.Fatal(err)
	}
	at, path := fakeDev(t)
	pid, started := startReceiver(t, path)
	self, err := pidfd.StartTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	other, _ := fakeDev(t)
	for name, tt := range map[string]struct {
		record *record
		at     *rootfs.Dir
		alive  bool
	}{
		"a receiver":         {&record{Receiver: pid, PIDNS: ns, Started: started}, at, true},
		"another's receiver": {&record{Receiver: pid, PIDNS: ns, Started: started}, other, false},
		"no receiver":        {&record{Receiver: os.Getpid(), PIDNS: ns, Started: self}, at, false},
		"a later one":        {&record{Receiver: pid, PIDNS: ns, Started: started + "0"}, at, false},
		"none":               {&record{PIDNS: ns}, at, false},
		"no record":          {nil, at, false},
		"no such process":    {&record{Receiver: 1 << 22, PIDNS: ns, Started: started}, at, false},
		"another namespace":  {&record{Receiver: pid, PIDNS: ns + 1, Started: started}, at, true},
	} {
		if got := tt.record.alive(&Target{inside: true}, tt.at); got != tt.alive {
			t.Errorf("%s: alive = %t, want %t", name, got, tt.alive)
		}
		p := tt.record.process(tt.at)
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

// startReceiver starts a program called devlogd, that has the directory open.
func startReceiver(t *testing.T, dir string) (pid int, started string) {
	t.Helper()
	exe := filepath.Join(t.TempDir(), receiverName)
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

// A container that was listed is not another one with its process ID, and one
// that could not be looked at is not repaired.
func TestSharerIs(t *testing.T) {
	pid := os.Getpid()
	started, err := pidfd.StartTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what   string
		sharer Sharer
		want   bool
	}{
		{"itself", Sharer{PID: pid, started: started}, true},
		{"a later one", Sharer{PID: pid, started: started + "0"}, false},
		{"not looked at", Sharer{PID: pid}, false},
		{"another", Sharer{PID: pid + 1, started: started}, false},
	} {
		if got := tt.sharer.is(&Target{pid: pid}); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.what, got, tt.want)
		}
	}
	hangs := Sharer{PID: pid, Problem: "it does not answer", Plan: Plan{Verdict: NeedsRepair}}
	err = RepairSharers([]Sharer{hangs}, func(string) (Options, error) {
		t.Error("it is repaired")
		return Options{}, nil
	}, nil)
	var of *SharerError
	if !errors.As(err, &of) || of.Err.Error() != hangs.Problem {
		t.Errorf("RepairSharers: %v", err)
	}
}
