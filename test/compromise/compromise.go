//go:build compromise

// Package compromise is what somebody would do who has taken a receiver over. Only tests
// build it into devlogd, with the tag compromise: on SIGWINCH it tries, and writes what
// came of it beside the receiver's messages. It is told in the file compromise.in there,
// NAME VALUE a line, what there is to try.
package compromise

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func init() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGWINCH)
	go func() {
		for range c {
			dir := "/var/log/devlog/c1" // of the tests' container, if this process has several
			if i := slices.Index(os.Args, "--name"); i >= 0 {
				dir = "/var/log/devlog/" + os.Args[i+1]
			}
			done := make(chan string)
			go func() { // on another thread than the receiver's, which ends with this
				runtime.LockOSThread()
				done <- compromise(dir)
			}()
			out := filepath.Join(dir, "compromise.out")
			if err := os.WriteFile(out+".new", []byte(<-done), 0o600); err == nil {
				_ = os.Rename(out+".new", out)
			}
		}
	}()
}

func compromise(dir string) string {
	in, err := os.ReadFile(filepath.Join(dir, "compromise.in"))
	if err != nil {
		return err.Error()
	}
	value := map[string]string{}
	for line := range strings.Lines(string(in)) {
		name, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		value[name] = v
	}
	pid, err := strconv.Atoi(value["pid"])
	if err != nil {
		return err.Error()
	}
	open := func(path string, flags int) error {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o600)
		if err == nil {
			_ = unix.Close(fd)
		}
		return err
	}
	if name := value["catch"]; name != "" {
		return passHandle(name)
	}
	var text strings.Builder
	for _, try := range []struct {
		name string
		do   func() error
	}{
		{"write", func() error { return open(value["new"], unix.O_WRONLY|unix.O_CREAT) }},
		{"write-other", func() error { return open(value["other"], unix.O_WRONLY|unix.O_APPEND) }},
		{"truncate-other", func() error { return unix.Truncate(value["other"], 0) }},
		{"remove-other", func() error { return unix.Rename(value["other"], value["other"]+".moved") }},
		{"read-shadow", func() error { return open(value["shadow"], unix.O_RDONLY) }},
		{"read-container", func() error { return openBelow(value["file"], unix.O_RDONLY) }},
		{"write-container", func() error { return openBelow(value["file"], unix.O_WRONLY) }},
		{"device", func() error { return open("/dev/zero", unix.O_RDWR) }},
		{"mknod", func() error { return unix.Mknod(dir+"/device", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) }},
		{"mknod-container", func() error {
			return below(func(fd int) error { return unix.Mknodat(fd, "device", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) })
		}},
		{"kill", func() error { return unix.Kill(pid, unix.SIGURG) }},
		{"mem", func() error { return open(fmt.Sprintf("/proc/%d/mem", pid), unix.O_RDWR) }},
		{"root", func() error { return open(fmt.Sprintf("/proc/%d/root/etc/passwd", pid), unix.O_RDONLY) }},
		{"ptrace", func() error {
			_, _, err := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, 0, 0, 0)
			return some(err)
		}},
		{"exec", func() error {
			pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", ":"}, nil)
			if err == nil {
				_, err = unix.Wait4(pid, nil, 0, nil)
			}
			return err
		}},
		{"mount", func() error {
			err := unix.Mount("none", "/mnt", "tmpfs", 0, "")
			if err == nil {
				err = unix.Unmount("/mnt", 0)
			}
			return err
		}},
		{"chroot", func() error { return errors.Join(unix.Unshare(unix.CLONE_FS), unix.Chroot("/var")) }},
		{"abstract", func() error {
			s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err == nil {
				err = errors.Join(unix.Connect(s, &unix.SockaddrUnix{Name: value["abstract"]}), unix.Close(s))
			}
			return err
		}},
		{"tcp", func() error {
			s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err == nil {
				err = errors.Join(unix.Connect(s, &unix.SockaddrInet4{Port: 1, Addr: [4]byte{127, 0, 0, 1}}), unix.Close(s))
			}
			return err
		}},
		{"pass", func() error { // a file to another process
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err == nil {
				err = errors.Join(unix.Sendmsg(pair[0], []byte("x"), unix.UnixRights(pair[0]), nil, 0), unix.Close(pair[0]), unix.Close(pair[1]))
			}
			return err
		}},
		{"unhide", func() error {
			return errors.Join(unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0), unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
		}},
		{"capset", func() error {
			header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var data [2]unix.CapUserData
			return errors.Join(unix.Capget(&header, &data[0]), unix.Capset(&header, &data[0]))
		}},
		{"module", func() error { return unix.DeleteModule("devlog_none", 0) }},
		{"setuid", func() error {
			_, _, err := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), ^uintptr(0), 1)
			return some(err)
		}},
	} {
		err := try.do()
		if errors.Is(err, unix.ENOSYS) { // a kernel without modules
			continue
		}
		what := "allowed"
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EXDEV) {
			what = "stopped"
		}
		fmt.Fprintf(&text, "%s %s %q\n", try.name, what, fmt.Sprint(err))
	}
	return text.String()
}

func some(err unix.Errno) error {
	if err != 0 {
		return err
	}
	return nil
}

// below tries it in every directory that this process has open. Without one it is denied.
func below(try func(dir int) error) error {
	for fd := 3; fd < 100; fd++ {
		if try(fd) == nil {
			return nil
		}
	}
	return unix.EACCES
}

// openBelow opens the file below any directory that this process has open.
func openBelow(name string, flags int) error {
	return below(func(dir int) error {
		f, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Close(f)
		}
		return err
	})
}

// passHandle passes a handle of the root directory to whoever listens at that name below
// any directory that this process has open.
func passHandle(name string) string {
	root, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	said := "nobody listens"
	for fd := 3; fd < 100; fd++ {
		to := &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", fd, name)}
		if err := unix.Sendmsg(s, []byte("x"), unix.UnixRights(root), to, 0); err == nil {
			return "passed"
		} else if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			said = err.Error()
		}
	}
	return said
}
