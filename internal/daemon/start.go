// Package daemon starts a receiver as a process that outlives the hook.
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

// Spec is how to start a receiver.
type Spec struct {
	// Path is the program, and its first argument.
	Path string
	// Sealed runs a sealed copy of the program in memory, so that nobody who can open the
	// receiver's /proc/PID/exe can write to the program's file.
	Sealed bool
	// Confined takes the privileges from the program that a container's process must not have:
	// it keeps only the capabilities to write files and to change its root, and gains none by
	// executing a program.
	Confined bool
	// Args are the arguments after the program's name.
	Args []string
	// Env is the whole environment. LISTEN_FDS and LISTEN_FDNAMES are added.
	Env []string
	// Dir is its working directory; / if empty.
	Dir string
	// Stderr is its standard error; nil for /dev/null.
	Stderr *os.File
	// Files are passed to it. They stay open here.
	Files []handover.Passed
	// Timeout is how long it may take to be ready.
	Timeout time.Duration
}

// Env returns the whole environment of a receiver: GOMAXPROCS, and those variables of this process
// that are set. It must not depend on the container's environment, or on the runtime's.
func Env(variables ...string) []string {
	env := []string{"GOMAXPROCS=1"} // for all of the machine's processors Go's runtime would need 0.2 MB more
	for _, name := range variables {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// StartError is the reason that a receiver itself gave for not running.
type StartError struct {
	Text string
}

func (e *StartError) Error() string { return e.Text }

// Starting is a receiver that is being started.
type Starting struct {
	// PID is its process, and Ready is readable when Await need not wait.
	PID, Ready int
	path       string
}

// Start starts a receiver that outlives this process, and waits until it is ready. It returns its
// process ID. See Begin and Await.
func Start(s Spec) (pid int, err error) {
	b, err := Begin(s)
	if err != nil {
		return 0, err
	}
	if err := b.Await(s.Timeout); err != nil {
		return 0, err
	}
	return b.PID, nil
}

// Begin starts a receiver that outlives this process. The receiver has its own session, / as its
// working directory unless Dir is set, /dev/null as standard input, output and error, and no other
// open files than Files. The caller must call Await.
func Begin(s Spec) (b *Starting, err error) {
	null, err := file.OpenNull()
	if err != nil {
		return nil, fmt.Errorf("cannot start the receiver: %w", err)
	}
	defer null.Close()
	if len(s.Files) > handover.MaxFiles {
		return nil, fmt.Errorf("cannot start the receiver: %d files to pass, but at most %d are possible; hint: choose a socket path with fewer directories to make", len(s.Files), handover.MaxFiles)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("cannot start the receiver: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(pipe[0])
		}
	}()
	report := os.NewFile(uintptr(pipe[1]), handover.NameReady)
	defer report.Close()
	files, vars := handover.Inheritable(append(slices.Clone(s.Files), handover.Passed{File: report, Name: handover.NameReady}))
	path := s.Path
	if s.Sealed {
		image, err := sealedCopy(s.Path, firstFree(files))
		if err != nil {
			return nil, fmt.Errorf("cannot start the receiver from memory: %w", err)
		}
		defer image.Close()
		path = file.Path(int(image.Fd()))
	}
	start := syscall.ForkExec // os.StartProcess first starts another process, to test for pidfds
	if s.Confined {
		start = startConfined
	}
	attr := &syscall.ProcAttr{
		Dir: cmp.Or(s.Dir, "/"),
		Env: append(slices.Clone(s.Env), vars...),
		Sys: &syscall.SysProcAttr{Setsid: true},
	}
	stderr := s.Stderr
	if stderr == nil {
		stderr = null
	}
	for _, f := range append([]*os.File{null, null, stderr}, files...) {
		attr.Files = append(attr.Files, f.Fd())
	}
	pid, err := start(path, append([]string{s.Path}, s.Args...), attr)
	runtime.KeepAlive(files)
	if err == nil {
		return &Starting{PID: pid, Ready: pipe[0], path: s.Path}, nil
	}
	return nil, fmt.Errorf("cannot start the receiver %s: %w", s.Path, err)
}

// Await waits until the receiver is ready. After an error no process is left, except one that the
// kernel holds (see End). The error is a *StartError if the receiver itself gave the reason.
func (b *Starting) Await(timeout time.Duration) error {
	defer file.Shut(&b.Ready)
	err := await(b.Ready, timeout)
	if err == nil {
		return nil
	}
	err = endUnready(b.PID, err)
	var said *StartError
	if errors.As(err, &said) {
		return err
	}
	return fmt.Errorf("cannot start the receiver %s: %w", b.path, err)
}

// endUnready ends a receiver that did not become ready, and returns the reason.
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

// await reads what handover.Report writes, at once, at the other end of the pipe.
func await(ready int, timeout time.Duration) error {
	if err := handover.Poll(timeout, ready); err != nil {
		return err
	}
	text := make([]byte, 4096)
	n, err := unix.Read(ready, text)
	if err != nil {
		return err
	}
	line, _, whole := bytes.Cut(text[:n], []byte("\n"))
	switch {
	case !whole:
		return io.EOF
	case string(line) == handover.ReportReady:
		return nil
	default:
		return &StartError{Text: string(line)}
	}
}

// firstFree returns a descriptor above all that are used to pass these files, so that exec
// still finds the image after the files have moved to their numbers. A file that is in the way
// of another is first moved to above all of them.
func firstFree(files []*os.File) int {
	top := handover.FirstFD + len(files)
	for _, f := range files {
		top = max(top, int(f.Fd())+1)
	}
	return max(64, top+handover.FirstFD+len(files)+1) // one more for the child's error pipe
}

// sealedCopy returns a copy of the program in memory that cannot be changed (memfd_create(2),
// F_ADD_SEALS of fcntl(2)). Its descriptor is at least first.
func sealedCopy(path string, first int) (*os.File, error) {
	src, err := file.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	name := filepath.Base(path)
	low, err := memfd.Create(name, memfd.Program)
	if err != nil {
		return nil, fmt.Errorf("cannot make a file in memory: %w", err)
	}
	fd, err := unix.FcntlInt(uintptr(low), unix.F_DUPFD_CLOEXEC, first)
	unix.Close(low)
	if err != nil {
		return nil, fmt.Errorf("cannot make a file in memory: %w", err)
	}
	image := os.NewFile(uintptr(fd), "memfd:"+name)
	if _, err := io.Copy(image, src); err != nil {
		image.Close()
		return nil, fmt.Errorf("cannot copy %s into memory: %w", path, err)
	}
	if err := memfd.Seal(fd, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE); err != nil {
		image.Close()
		return nil, fmt.Errorf("cannot seal the copy of %s: %w", path, err)
	}
	return image, nil
}
