package daemon

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/handover"
)

// playExec is the receiver that replaces its program: once, and then it says
// what it found.
func playExec(out *os.File) error {
	d, err := handover.Inherit()
	if err != nil {
		return err
	}
	if d != nil {
		for _, fd := range []int{d.Files.Init, int(d.Counters["leak"])} {
			to, err := os.Readlink(fmt.Sprint("/proc/self/fd/", fd))
			fmt.Fprintf(out, "%s %v\n", to, err == nil)
		}
		return out.Close()
	}
	leak, err := unix.Open("/dev/zero", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	image, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	env := append(os.Environ(), "LISTEN_FDS=0", fmt.Sprintf("DAEMON_TEST_OUT=%d", out.Fd()))
	d = handover.NewDescription()
	d.Files.Init, d.Files.Root, d.Counters["leak"] = null, int(out.Fd()), uint64(leak)
	return handover.Exec(int(image.Fd()), os.Args, env, d, func() error { return nil })
}

// Kept files stay open under their numbers, and no other file does.
func TestExec(t *testing.T) {
	said, err := start(t, "exec", false)
	if err != nil {
		t.Fatal(err)
	}
	if want := "/dev/null true\n false\n"; said != want {
		t.Errorf("got %q, want %q", said, want)
	}
}
