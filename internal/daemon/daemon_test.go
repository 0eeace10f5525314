package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"devlog/internal/file"
	"devlog/internal/handover"

	"golang.org/x/sys/unix"
)

// TestMain lets the test program play the receiver: DAEMON_TEST says how.
func TestMain(m *testing.M) {
	if how := os.Getenv("DAEMON_TEST"); how != "" {
		if err := play(how); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play is the receiver's part. It describes itself on the file "out".
func play(how string) error {
	files, err := handover.Inherited()
	if err != nil {
		return err
	}
	fds := map[string]int{}
	for _, f := range files {
		fds[f.Name] = f.FD
	}
	switch how {
	case "exec":
		if text, ok := os.LookupEnv("DAEMON_TEST_OUT"); ok { // the second program
			fd, err := strconv.Atoi(text)
			if err != nil {
				return err
			}
			return playExec(os.NewFile(uintptr(fd), "out"))
		}
		if err := handover.Report(fds[handover.NameReady], nil); err != nil {
			return err
		}
		return playExec(os.NewFile(uintptr(fds["out"]), "out"))
	case "die":
		return nil
	case "hang":
		return unix.Pause()
	case "fail":
		return handover.Report(fds[handover.NameReady], errors.New("cannot open /x: it is not there"))
	}
	out := os.NewFile(uintptr(fds["out"]), "out")
	if how == "count" {
		fmt.Fprintf(out, "%d files", len(files))
		return errors.Join(out.Close(), handover.Report(fds[handover.NameReady], nil))
	}
	defer out.Close()
	cwd, _ := os.Getwd()
	sid, _ := unix.Getsid(0)
	exe, _ := os.Readlink("/proc/self/exe")
	fmt.Fprintf(out, "cwd %s\nleader %t\nenv %q\nargs %q\nexe %s\n", cwd, sid == os.Getpid(), os.Environ(), os.Args[1:], exe)
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range list {
		fd, _ := strconv.Atoi(e.Name())
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && (fd < handover.FirstFD || fd >= handover.FirstFD+len(files)) {
			fmt.Fprintf(out, "fd %s %s\n", e.Name(), to)
		}
	}
	if f, err := os.OpenFile("/proc/self/exe", os.O_WRONLY, 0); err == nil {
		f.Close()
		fmt.Fprintln(out, "exe can be written")
	} else {
		fmt.Fprintln(out, "exe", errors.Unwrap(err))
	}
	return handover.Report(fds[handover.NameReady], nil)
}

func start(t *testing.T, how string, sealed bool) (said string, err error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	pid, err := Start(Spec{
		Path: self, Sealed: sealed, Args: []string{"--name", "x"}, Env: []string{"DAEMON_TEST=" + how},
		Files: []handover.Passed{{File: w, Name: "out"}}, Timeout: 20 * time.Second,
	})
	w.Close()
	if err != nil {
		if pid != 0 {
			t.Errorf("an error and a process: %d, %v", pid, err)
		}
		return "", err
	}
	text, rerr := io.ReadAll(r)
	if rerr != nil {
		t.Fatal(rerr)
	}
	if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
		t.Errorf("wait for the receiver: %v", err)
	}
	return string(text), nil
}

func TestStart(t *testing.T) {
	// What a runtime leaks into a hook must not reach the receiver.
	leak, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leak)
	for _, each := range []bool{false, true} {
		mark := file.CloseOnExec
		if each {
			mark = file.CloseOnExecEach // what older kernels need
		}
		if _, err := unix.FcntlInt(uintptr(leak), unix.F_SETFD, 0); err != nil {
			t.Fatal(err)
		}
		if err := mark(); err != nil {
			t.Fatal(err)
		}
		for _, sealed := range []bool{false, true} {
			said, err := start(t, "describe", sealed)
			if err != nil {
				t.Fatalf("sealed %t: %v", sealed, err)
			}
			lines := strings.Split(strings.TrimSpace(said), "\n")
			self, _ := os.Executable()
			want := []string{"cwd /", "leader true", `env ["DAEMON_TEST=describe"]`, `args ["--name" "x"]`,
				"fd 0 /dev/null", "fd 1 /dev/null", "fd 2 /dev/null", "exe text file busy"}
			if sealed {
				want = append(want, "exe /memfd:"+self[strings.LastIndex(self, "/")+1:]+" (deleted)")
			} else {
				want = append(want, "exe "+self)
			}
			for _, w := range want {
				if !slices.Contains(lines, w) {
					t.Errorf("sealed %t: no line %q in\n%s", sealed, w, said)
				}
			}
			for _, l := range lines {
				if strings.HasPrefix(l, "fd ") && !strings.HasSuffix(l, " /dev/null") && !strings.Contains(l, "anon_inode") && !strings.Contains(l, "/proc/") {
					t.Errorf("sealed %t: an open file too many: %s", sealed, l)
				}
			}
		}
	}
}

func TestStartFails(t *testing.T) {
	_, err := start(t, "fail", false)
	var said *StartError
	if !errors.As(err, &said) || said.Text != "cannot open /x: it is not there" {
		t.Errorf("a receiver that says why: %v", err)
	}
	if _, err := start(t, "die", true); err == nil || !strings.Contains(err.Error(), "ended before it was ready (exit status 0)") {
		t.Errorf("a receiver that dies: %v", err)
	}
	if _, err := Start(Spec{Path: "/nowhere", Timeout: time.Second}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a receiver that is missing: %v", err)
	}
	if _, err := Start(Spec{Path: "/nowhere", Sealed: true, Timeout: time.Second}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a receiver that is missing, sealed: %v", err)
	}
	self, _ := os.Executable()
	_, err = Start(Spec{Path: self, Env: []string{"DAEMON_TEST=hang"}, Timeout: 50 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "not ready after 50ms") {
		t.Errorf("a receiver that hangs: %v", err)
	}
	// Every one of them has been waited for.
	if pid, err := unix.Wait4(-1, nil, syscall.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("a process is left: %d, %v", pid, err)
	}
}
