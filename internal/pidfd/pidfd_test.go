package pidfd

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParsePID(t *testing.T) {
	for _, tt := range []struct {
		info string
		want int
	}{
		{"pos:\t0\nflags:\t02000002\nmnt_id:\t15\nPid:\t4711\nNSpid:\t4711\t1\n", 4711},
		{"pos:\t0\nPid:\t-1\nNSpid:\t-1\n", 0}, // ended
		{"Pid:\t0\nNSpid:\t0\n", 0},            // of another PID namespace
		{"NSpid:\t1\n", 0},
		{"Pid: x\n", 0},
		{"", 0},
	} {
		if got := ParsePID([]byte(tt.info)); got != tt.want {
			t.Errorf("%q: got %d, want %d", tt.info, got, tt.want)
		}
	}
}

func TestProcess(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f, err := Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd := int(f.Fd())
	if pid, err := PID(fd); err != nil || pid != cmd.Process.Pid || Ended(fd) {
		t.Errorf("got %d, %v, ended %t; want %d", pid, err, Ended(fd), cmd.Process.Pid)
	}
	if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
		t.Fatal(err)
	}
	if pid, err := PID(fd); !errors.Is(err, unix.ESRCH) || !Ended(fd) {
		t.Errorf("of one that has ended: %d, %v, ended %t", pid, err, Ended(fd))
	}
	if _, err := PID(-1); err == nil || errors.Is(err, unix.ESRCH) {
		t.Errorf("without a handle: %v", err)
	}
	if _, err := Open(1 << 22); !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.EINVAL) {
		t.Errorf("of no process: %v", err)
	}
}

func TestStartTime(t *testing.T) {
	const fields = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"
	for stat, want := range map[string]string{
		"1 (sh)" + fields:                "4711",
		"1 (a b) c) (d)" + fields + "\n": "4711",
		"1 (a) 2 (b) S 1 2":              "",
		"":                               "",
		")":                              "",
	} {
		if got, err := parseStartTime(stat); got != want || (err == nil) != (want != "") {
			t.Errorf("parseStartTime(%q) = %q, %v; want %q", stat, got, err, want)
		}
	}
	own, err := OwnStartTime()
	if got, serr := StartTime(os.Getpid()); serr != nil || err != nil || got == "" || got != own {
		t.Errorf("of this process: %q and %q, %v, %v", own, got, err, serr)
	}
	if got, err := StartTime(1 << 30); err == nil {
		t.Errorf("of none: %q", got)
	}
}

func TestForked(t *testing.T) {
	for stat, want := range map[string]bool{
		"1 (a) S 0 1 1 0 -1 4194560 0": false,
		"1 (a) S 0 1 1 0 -1 4194624 0": true,
		"1 (a 64) b) S 0 1 1 0 -1 64":  true,
		"1 (a) S 0 1 1 0 -1 -64 0":     false,
		"1 (a) S 0 1 1 0 -1":           false,
		"":                             false,
	} {
		if got := parseForked(stat); got != want {
			t.Errorf("parseForked(%q) = %t", stat, got)
		}
	}
	if Forked(os.Getpid()) || Forked(1<<30) {
		t.Error("this process has executed a program, and another does not exist")
	}
}
