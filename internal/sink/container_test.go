package sink

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devlog/internal/output/outputtest"

	"golang.org/x/sys/unix"
)

// startInit starts a process that stands for a container's first one, with
// this standard output. It ends with end.
func startInit(t *testing.T, stdout *os.File) (pidfd int, end func()) {
	t.Helper()
	cmd := exec.Command("cat")
	cmd.Stdout = stdout
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			in.Close()
			_ = cmd.Wait() // it may not like its output
		}
	}
	t.Cleanup(end)
	if pidfd, err = unix.PidfdOpen(cmd.Process.Pid, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pidfd) })
	return pidfd, end
}

func pipeEnds(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	if err := unix.SetNonblock(int(r.Fd()), true); err != nil {
		t.Fatal(err)
	}
	return r, w
}

func openTestContainer(pidfd int) (s *Stream, problems *[]string) {
	s, _, problems = openTestStream(StreamOptions{Kind: ContainerStdout, Init: func() int { return pidfd }})
	return s, problems
}

// A pipe gets the messages. Its reader sees the end once the container and the receiver have
// closed it.
func TestContainerPipe(t *testing.T) {
	r, w := pipeEnds(t)
	pidfd, end := startInit(t, w)
	w.Close()
	s, problems := openTestContainer(pidfd)
	s.Flush(time.Now())
	if s.file != nil {
		t.Error("it is opened before the first message")
	}
	s.Add(outputtest.Message("a"))
	s.Flush(time.Now())
	end()
	s.Add(outputtest.Message("b"))
	s.Flush(time.Now())
	s.Close()
	if got := readAll(int(r.Fd())); got != "a\nb\n" || len(*problems) > 0 {
		t.Errorf("%q, problems %q", got, *problems)
	}
	if n, err := unix.Read(int(r.Fd()), make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("not the end: %d, %v", n, err)
	}
	outputtest.WantCounts(t, s, "2 0")
}

// Only a pipe without a name can be opened again by its handle in a sandbox.
func TestContainerHeld(t *testing.T) {
	dir := t.TempDir()
	_, pipe := pipeEnds(t)
	file, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	fifo, err := os.OpenFile(filepath.Join(dir, "fifo"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer fifo.Close()
	_, socket := socketFile(t)
	for _, tt := range []struct {
		name string
		out  *os.File
		want bool
	}{{"pipe", pipe, true}, {"file", file, false}, {"named pipe", fifo, false}, {"socket", socket, false}} {
		pidfd, _ := startInit(t, tt.out)
		s, _ := openTestContainer(pidfd)
		s.Flush(time.Now())
		if got := s.Held(); got != tt.want {
			t.Errorf("a %s is held: %v, want %v", tt.name, got, tt.want)
		}
		s.Close()
	}
}

// ended returns whether every writer of a pipe in which nothing is left has closed it.
func ended(t *testing.T, r *os.File) bool {
	t.Helper()
	p := []unix.PollFd{{Fd: int32(r.Fd())}} // POLLHUP needs no asking
	if _, err := unix.Poll(p, 0); err != nil {
		t.Fatal(err)
	}
	return p[0].Revents&unix.POLLHUP != 0
}

// If the container ends before its first message is written, the standard output from the start
// is used. Its reader does not see the end before that.
func TestContainerShort(t *testing.T) {
	for _, pinned := range []bool{true, false} {
		r, w := pipeEnds(t)
		pidfd, end := startInit(t, w)
		s, problems := openTestContainer(pidfd)
		if pinned {
			s.Flush(time.Now())
		}
		w.Close()
		end()
		if got := ended(t, r); got == pinned {
			t.Errorf("pinned %t: the reader sees the end: %t", pinned, got)
		}
		s.Add(outputtest.Message("a"))
		s.Flush(time.Now())
		s.Close()
		if pinned {
			outputtest.WantCounts(t, s, "1 0")
			if got := readAll(int(r.Fd())); got != "a\n" || !ended(t, r) {
				t.Errorf("%q", got)
			}
			continue
		}
		outputtest.WantCounts(t, s, "0 0 "+errEnded.Error()+"=1")
		if len(*problems) != 1 || !strings.HasSuffix((*problems)[0], errEnded.Error()) {
			t.Errorf("%q", *problems)
		}
	}
}

// A file shares its offset with the container, and a socket cannot be reopened: both are
// shared.
func TestContainerShared(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	peer, socket := socketFile(t)
	for _, out := range []*os.File{f, socket} {
		if _, err := out.WriteString("theirs\n"); err != nil {
			t.Fatal(err)
		}
		pidfd, _ := startInit(t, out)
		s, problems := openTestContainer(pidfd)
		s.Add(outputtest.Message("ours"))
		s.Flush(time.Now())
		if len(*problems) > 0 && strings.Contains((*problems)[0], "no such device") { // no pidfd_getfd(2) for us here
			t.Skip(*problems)
		}
		outputtest.WantCounts(t, s, "1 0")
		s.Close()
		if _, err := out.WriteString("theirs\n"); err != nil {
			t.Fatal(err)
		}
	}
	const want = "theirs\nours\ntheirs\n"
	if got, err := os.ReadFile(f.Name()); err != nil || string(got) != want {
		t.Errorf("file: %q, %v", got, err)
	}
	buf := make([]byte, 100)
	if n, err := unix.Read(peer, buf); err != nil || string(buf[:n]) != want {
		t.Errorf("socket: %q, %v", buf[:max(n, 0)], err)
	}
}

// The receiver does not wait for a container that does not read.
func TestContainerBlocked(t *testing.T) {
	_, w := pipeEnds(t)
	pidfd, _ := startInit(t, w)
	s, problems := openTestContainer(pidfd)
	fill(t, s, 1000)
	if !s.Waits() || len(*problems) > 0 || s.Counts().Lost[0].Reason != "container's standard output blocked" {
		t.Errorf("waits %v, lost %v, problems %q", s.Waits(), s.Counts().Lost, *problems)
	}
	s.Close()
}

// The receiver does not write to a file that the container's first process could not write to
// itself. It may have opened a device of the host with O_PATH, which needs no permission.
func TestContainerForeignStdout(t *testing.T) {
	fifo := makeFIFO(t)
	reader := openReader(t, fifo)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("theirs\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, file, "/dev/null"} {
		for name, flags := range map[string]int{"O_PATH": unix.O_PATH, "O_RDONLY": unix.O_RDONLY | unix.O_NONBLOCK} {
			for _, byPath := range []bool{false, true} {
				fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				out := os.NewFile(uintptr(fd), path)
				pidfd, end := startInit(t, out)
				out.Close()
				s, problems := openTestContainer(pidfd)
				if byPath {
					c := &container{init: func() int { return pidfd }, pin: -1, take: refuseTaking}
					s.container, s.open, s.early = c, c.open, func(time.Time) { c.pinNow() }
				}
				s.Flush(time.Now()) // it is pinned
				s.Add(outputtest.Message("ours"))
				s.Flush(time.Now())
				end()
				s.Add(outputtest.Message("ours"))
				s.Flush(time.Now().Add(time.Hour))
				if s.Counts().Written > 0 || len(*problems) != 1 || !strings.Contains((*problems)[0], errNotTheirs.Error()) {
					t.Errorf("%s opened with %s, by path %t: %+v, problems %q", path, name, byPath, s.Counts(), *problems)
				}
				s.Close()
			}
		}
	}
	if got := readAll(reader); got != "" {
		t.Errorf("in the FIFO: %q", got)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "theirs\n" {
		t.Errorf("in the file: %q, %v", got, err)
	}
}

// refuseTaking is pidfd_getfd(2) where it is refused, or the kernel has none.
func refuseTaking(int, int, int) (int, error) { return -1, unix.EPERM }

// If pidfd_getfd(2) is refused, a pipe is opened by its path, but no other file that the
// container may have exchanged for it.
func TestContainerByPath(t *testing.T) {
	r, w := pipeEnds(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, tt := range []struct {
		out  *os.File
		want string
	}{{w, "1 0"}, {file, "0 1"}} {
		pidfd, end := startInit(t, tt.out)
		s, _ := openTestContainer(pidfd)
		c := &container{init: func() int { return pidfd }, pin: -1, take: refuseTaking}
		s.container, s.open, s.early = c, c.open, func(time.Time) { c.pinNow() }
		s.Flush(time.Now())
		s.Add(outputtest.Message("a"))
		s.Flush(time.Now())
		outputtest.WantCounts(t, s, tt.want)
		s.Close()
		end()
	}
	w.Close()
	if got := readAll(int(r.Fd())); got != "a\n" {
		t.Errorf("%q", got)
	}
}

// A socket that the container has left to the receiver does not hold up its end, whatever the
// container has set (SO_LINGER of socket(7)).
func TestContainerLingers(t *testing.T) {
	socket := func() int {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		outputtest.Must(t, err)
		return fd
	}
	peer, fd := socket(), socket()
	defer unix.Close(peer)
	outputtest.Must(t, unix.Bind(peer, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	outputtest.Must(t, unix.Listen(peer, 1))
	at, err := unix.Getsockname(peer)
	outputtest.Must(t, err)
	outputtest.Must(t, unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 100000}))
	outputtest.Must(t, unix.Connect(fd, at))
	stdout := os.NewFile(uintptr(fd), "stdout")
	pidfd, end := startInit(t, stdout)
	s, problems := openTestContainer(pidfd)
	for range 20 { // more than the peer has room for
		s.Add(outputtest.Message(strings.Repeat("x", 200<<10)))
		s.Flush(time.Now())
	}
	outputtest.Must(t, stdout.Close())
	end()
	closed := make(chan bool)
	go func() {
		s.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Errorf("it is not closed; problems %q", *problems)
	}
}
