package sink

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"devlog/internal/output/outputtest"
	"devlog/internal/safepath"

	"golang.org/x/sys/unix"
)

// wantRead reads until there is as much as is wanted: a terminal's other end
// gets it a little later.
func wantRead(t *testing.T, fd int, want string) {
	t.Helper()
	got := ""
	for len(got) < len(want) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 30_000)
		if n == 0 || err != nil && !errors.Is(err, unix.EINTR) {
			t.Fatalf("read %q, want %q; %v", got, want, err)
		}
		got += readAll(fd)
	}
	if got != want {
		t.Errorf("read %q, want %q", got, want)
	}
}

// openPTY returns the master of a new terminal, and the terminal's name.
func openPTY(t *testing.T) (master int, path string) {
	t.Helper()
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { unix.Close(master) })
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	return master, fmt.Sprintf("/dev/pts/%d", n)
}

// setRaw makes the terminal pass on unchanged what is written to it.
func setRaw(t *testing.T, fd int) {
	t.Helper()
	state, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	state.Oflag &^= unix.OPOST
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, state); err != nil {
		t.Fatal(err)
	}
}

// A terminal gets CR LF. A stopped terminal delays nobody, and one that hung up is reopened.
func TestTerminal(t *testing.T) {
	master, path := openPTY(t)
	setRaw(t, master)
	s, waits, problems := openTestStream(StreamOptions{Kind: Terminal, Path: path})
	s.Add(outputtest.Message("a"))
	s.Flush(time.Now())
	wantRead(t, master, "a\r\n")
	if err := unix.IoctlSetInt(s.file.FD(), unix.TCXONC, unix.TCOOFF); err != nil { // what ^S does
		t.Fatal(err)
	}
	s.Add(outputtest.Message("stopped"))
	s.Flush(time.Now())
	if got := readAll(master); got != "" || len(*waits) != 1 || !s.Waits() {
		t.Errorf("%q while stopped, waits for %v", got, *waits)
	}
	if err := unix.IoctlSetInt(s.file.FD(), unix.TCXONC, unix.TCOON); err != nil { // ^Q
		t.Fatal(err)
	}
	s.Flush(time.Now())
	wantRead(t, master, "stopped\r\n")
	unix.Close(master)
	s.Add(outputtest.Message("b"))
	s.Flush(time.Now())
	s.Flush(s.Next())
	outputtest.WantCounts(t, s, "2 1")
	if len(*problems) != 1 || s.Next().IsZero() {
		t.Errorf("problems of a terminal that has gone: %q, next %v", *problems, s.Next())
	}
	s.Close()
	outputtest.WantCounts(t, s, "2 0 no such file or directory=1")
}

// Other files than terminals are not written to, nor a terminal behind a link that a container
// can make.
func TestOpenTerminal(t *testing.T) {
	master, path := openPTY(t)
	defer unix.Close(master)
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, below, want string }{
		{path, "", ""},
		{path, "/dev", ""},
		{link, "", ""},
		{link, dir, "cannot open the terminal " + link + ": it is not a device"},
		{dir, "", "cannot open the terminal " + dir + ": is a directory"},
		{"/dev/zero", "/dev", "cannot open the terminal /dev/zero: it is another device"},
	} {
		s, err := openTerminal(safepath.New(tt.path, tt.below))
		if got := fmt.Sprint(err); err != nil && got != tt.want || err == nil && tt.want != "" {
			t.Errorf("%s below %q: %v, want %q", tt.path, tt.below, err, tt.want)
		}
		if err == nil {
			s.Close()
		}
	}
}
