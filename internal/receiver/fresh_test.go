package receiver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/internal/handover"

	"golang.org/x/sys/unix"
)

// leftFiles are a socket with a name, and what else a program may have left.
func leftFiles(t *testing.T) (path string, files []*os.File) {
	t.Helper()
	dir := t.TempDir()
	path, s := passedSocket(t, dir)
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	return path, []*os.File{openDir(t, dir), os.NewFile(uintptr(pair[0]), "pair"), os.NewFile(uintptr(pair[1]), "pair"), s.file, os.NewFile(uintptr(pidfd), "pidfd"), root}
}

// A program goes on with the sockets of one before it, the container's process and
// its root, if it cannot read what that one has left: by an upgrade or after a kill.
func TestFreshStart(t *testing.T) {
	for name, state := range map[string]string{"garbage": "garbage", "nothing": ""} {
		t.Run(name, func(t *testing.T) {
			path, files := leftFiles(t)
			log := filepath.Join(t.TempDir(), "m")
			metrics := log + ".prom"
			send(t, dial(t, path), "<13>test: before")
			content, err := handover.StateFile([]byte(state))
			if err != nil {
				t.Fatal(err)
			}
			d := &devlogd{t: t, cmd: command("--name", "box", "--rule", "*.* -"+log, "--metrics-file", metrics, "--later-option", "x"), ended: make(chan struct{})}
			d.cmd.ExtraFiles = append([]*os.File{content}, files...)
			d.cmd.Env = append(d.cmd.Env, "DEVLOGD_STATE=3")
			d.cmd.Stderr = &d.stderr
			if err := d.cmd.Start(); err != nil {
				t.Fatal(err)
			}
			go func() {
				_ = d.cmd.Wait()
				close(d.ended)
			}()
			await(t, log, "box test: before\n")
			await(t, log, "started without the state of the previous devlogd: read the state")
			await(t, log, `ignores arguments that it does not know: "--later-option" "x"`)
			send(t, dial(t, path), "<13>test: after")
			await(t, log, "box test: after\n")
			await(t, metrics, "devlogd_fresh_starts_total{name=\"box\"} 1\n")
			d.signal(unix.SIGUSR2)
			await(t, log, upgraded)
			d.signal(unix.SIGUSR1)
			await(t, log, "starts without the state before 1")
			d.signal(unix.SIGINT)
			if code := d.wait(); code != 0 {
				t.Errorf("exit code %d: %s", code, &d.stderr)
			}
		})
	}
}

func TestFreshSnapshot(t *testing.T) {
	path, files := leftFiles(t)
	s := freshStore(t)
	var fds []int
	for _, f := range files {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
	}
	fds = append(fds, s.fd)
	snap := freshSnapshot(fds, os.ErrInvalid)
	if len(snap.sockets) != 1 || snap.sockets[0].fd != fds[3] || snap.base.init != fds[4] || snap.base.root != fds[5] || snap.store != s.fd {
		t.Errorf("%s: %v, %+v", path, fds, snap)
	}
	for _, fd := range fds[:3] {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
			t.Errorf("descriptor %d is open: %v", fd, err)
		}
	}
	for _, fd := range fds[3:6] {
		_ = unix.Close(fd)
	}
}

// A receiver that systemd starts again, and whose store another version has laid out
// in its own way, keeps the sockets.
func TestStoreUnreadable(t *testing.T) {
	for name, spoil := range map[string]func(s *store){
		"another layout":        func(s *store) { s.head.magic++ },
		"no description":        func(s *store) { s.head.length = [2]uint64{} },
		"a long description":    func(s *store) { s.head.length = [2]uint64{maxState + 1, maxState + 1} },
		"a description garbled": func(s *store) { copy(s.memory[statesAt:], "x\n\ngarbage"); s.head.length = [2]uint64{11, 11} },
	} {
		s := freshStore(t)
		s.head.current = 0
		spoil(s)
		_, files := leftFiles(t)
		fd, err := unix.FcntlInt(files[3].Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		next := s.inherit(t, handover.File{FD: fd, Name: "socket-1-2"})
		snap, err := next.restart()
		if err != nil || len(snap.sockets) != 1 || snap.sockets[0].fd != fd || snap.unreadable == nil || strings.Contains(snap.unreadable.Error(), "\n") {
			t.Fatalf("%s: %v, %+v", name, err, snap)
		}
		r := newReceiver(&options{name: "box"}, nil)
		r.useStore(next)
		r.resumeFrom(snap)
		if in := r.takeOver(); len(in.sockets) != 1 || in.sockets[0].fd != fd || r.fresh != 1 {
			t.Errorf("%s: %+v, %d", name, in, r.fresh)
		}
		_ = unix.Close(fd)
	}
}
