// Package daemon owns the start of a receiver that outlives the hook: as a process of
// its own, or as a service of systemd's.
package daemon

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/memfd"
)

// Spec says how to start a receiver.
type Spec struct {
	// Path is the program. It is also the first argument.
	Path string
	// Sealed runs the program from a sealed copy in memory, so that nobody who
	// can open /proc/PID/exe of the receiver can write to the program's file.
	Sealed bool
	// Confined takes from the program what a container's own process has no
	// right to: all capabilities but those to write files and to change its root
	// directory, and the gain of others by what it executes.
	Confined bool
	// Args are the arguments behind the program's name.
	Args []string
	// Env is the whole environment; the LISTEN_ variables are added.
	Env []string
	// Dir is its working directory; / if it is empty.
	Dir string
	// Files are passed to it. They stay open here.
	Files []handover.Passed
	// Timeout is how long it may take to be ready.
	Timeout time.Duration
}

// StartError is a receiver's own account of why it cannot run.
type StartError struct {
	Text string
}

func (e *StartError) Error() string { return e.Text }

// Start starts a receiver that outlives this process and waits until it is
// ready: in a session of its own, with / as its working directory unless
// another is given, /dev/null as standard input, output and error, and no other
// open files than those passed. It returns the receiver's process ID. After an
// error no process is left, but for one that the kernel holds (see End). The error
// is a *StartError where the receiver said itself what is wrong.
func Start(s Spec) (pid int, err error) {
	null, err := file.OpenNull()
	if err != nil {
		return 0, fmt.Errorf("start the receiver: %w", err)
	}
	defer null.Close()
	if len(s.Files) > handover.MaxFiles {
		return 0, fmt.Errorf("start the receiver: %d files to pass, and %d at most can be: choose a socket path with fewer directories to make", len(s.Files), handover.MaxFiles)
	}
	ready, report, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("start the receiver: %w", err)
	}
	defer ready.Close()
	defer report.Close()
	files, vars := handover.Inheritable(append(slices.Clone(s.Files), handover.Passed{File: report, Name: handover.NameReady}))
	path := s.Path
	if s.Sealed {
		image, err := sealedCopy(s.Path, firstFree(files))
		if err != nil {
			return 0, fmt.Errorf("start the receiver from memory: %w", err)
		}
		defer image.Close()
		path = file.Path(int(image.Fd()))
	}
	start := syscall.ForkExec // os.StartProcess starts another one first, to try pidfds
	if s.Confined {
		start = startConfined
	}
	attr := &syscall.ProcAttr{
		Dir: cmp.Or(s.Dir, "/"),
		Env: append(slices.Clone(s.Env), vars...),
		Sys: &syscall.SysProcAttr{Setsid: true},
	}
	for _, f := range append([]*os.File{null, null, null}, files...) {
		attr.Files = append(attr.Files, f.Fd())
	}
	pid, err = start(path, append([]string{s.Path}, s.Args...), attr)
	runtime.KeepAlive(files)
	report.Close()
	if err == nil {
		if err = await(ready, s.Timeout); err == nil {
			return pid, nil
		}
		err = endUnready(pid, err)
	}
	var said *StartError
	if errors.As(err, &said) {
		return 0, err
	}
	return 0, fmt.Errorf("start the receiver %s: %w", s.Path, err)
}

// endUnready ends the receiver for which waiting has failed, and returns the
// reason.
func endUnready(pid int, reason error) error {
	status, err := End(pid)
	if err != nil {
		return errors.Join(reason, err)
	}
	if errors.Is(reason, io.EOF) {
		return fmt.Errorf("it ended before it was ready (%s)", inWords(status))
	}
	return reason
}

// await reads what handover.Report wrote at the other end of the pipe.
func await(ready *os.File, timeout time.Duration) error {
	if err := ready.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(ready, 4096))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("it was not ready after %s", timeout)
	}
	if err != nil {
		return err
	}
	line, _, whole := bytes.Cut(text, []byte("\n"))
	switch {
	case !whole:
		return io.EOF
	case string(line) == handover.ReportReady:
		return nil
	default:
		return &StartError{Text: string(line)}
	}
}

// firstFree is a descriptor above all that are used to pass these files: exec
// must find the image at its number after they have been moved to theirs.
// Those in the way of others are moved out of it first, to above all of them.
func firstFree(files []*os.File) int {
	top := handover.FirstFD + len(files)
	for _, f := range files {
		top = max(top, int(f.Fd())+1)
	}
	return max(64, top+handover.FirstFD+len(files)+1) // one is the child's pipe to tell an error
}

// sealedCopy returns the program as a file in memory that cannot be changed
// any more (memfd_create(2), F_ADD_SEALS of fcntl(2)). Its descriptor is at
// least first.
func sealedCopy(path string, first int) (*os.File, error) {
	src, err := file.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	name := filepath.Base(path)
	low, err := memfd.Create(name, memfd.Program)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	fd, err := unix.FcntlInt(uintptr(low), unix.F_DUPFD_CLOEXEC, first)
	unix.Close(low)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	image := os.NewFile(uintptr(fd), "memfd:"+name)
	if _, err := io.Copy(image, src); err != nil {
		image.Close()
		return nil, fmt.Errorf("copy %s into memory: %w", path, err)
	}
	if err := memfd.Seal(fd, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE); err != nil {
		image.Close()
		return nil, fmt.Errorf("seal the copy of %s: %w", path, err)
	}
	return image, nil
}
