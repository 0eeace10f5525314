// Package devlogd owns the program devlogd: its options, its one event loop with the signals,
// its sandbox, how it continues as another version, and its exit codes. A
// receiver does the work for a container.
package devlogd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"devlog/internal/eventloop"
	"devlog/internal/handover"
	"devlog/internal/receiver"
	"devlog/internal/sandbox"
	"devlog/internal/timezone"
)

// Version is the program's version, set by the linker.
var Version = "devel"

// The exit codes.
const (
	exitDone   = 0
	exitUsage  = 2
	exitFailed = 4
)

// usageError is an error in what the user wrote.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// Main runs devlogd with args, of which the first is the program's name, and returns its exit
// code. If the start fails, it writes one line to the pipe that was passed as
// handover.NameReady or, without one, to stderr.
func Main(args []string, stdout, stderr io.Writer) int {
	sandbox.Hide()
	before, err := handover.Inherit()
	files, ferr := handover.Inherited()
	ready := -1
	for _, f := range files {
		if f.Name == handover.NameReady {
			ready = f.FD
		}
		if f.Name == handover.NameChroot && err == nil {
			err = sandbox.EnterRoot(f.FD)
			sandbox.DropGuard() // from here on it only has the container's privileges
		}
	}
	if err = errors.Join(err, ferr); err == nil {
		started := func() error {
			if ready < 0 {
				return nil
			}
			fd := ready
			ready = -1
			return handover.Report(fd, nil)
		}
		// While the main goroutine is stuck, the loop ends in another one.
		exit := func(err error) { os.Exit(exitCode(err, -1, stderr)) }
		err = run(args[1:], stdout, files, before, started, exit)
	}
	return exitCode(err, ready, stderr)
}

// exitCode returns the program's exit code, and reports an error.
func exitCode(err error, ready int, stderr io.Writer) int {
	if err == nil {
		return exitDone
	}
	if ready < 0 || handover.Report(ready, err) != nil {
		// --check-config reports each wrong line.
		fmt.Fprintf(stderr, "devlogd: %s\n", strings.ReplaceAll(err.Error(), "\n", "\ndevlogd: "))
	}
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitFailed
}

// run is Main without the report. before is what the earlier program left. started is called
// when everything is ready. exit ends the program when the receiver ends while run is stuck.
func run(args []string, stdout io.Writer, files []handover.File, before *handover.Description, started func() error, exit func(error)) error {
	// A program that continues has the command line of another version.
	check := slices.IndexFunc(files, func(f handover.File) bool { return f.Name == handover.NameCheck })
	o, err := parseOptions(args, os.Environ(), before != nil || check >= 0)
	if err != nil {
		return usageError{err}
	}
	unix.Umask(0o022)
	signal.Ignore(unix.SIGPIPE, unix.SIGXFSZ) // write(2) returns errors instead
	switch {
	case o.help:
		_, err = io.WriteString(stdout, usage)
		return err
	case o.version:
		_, err = fmt.Fprintf(stdout, "devlogd %s\n", Version)
		return err
	case check >= 0:
		if err := checkUpgrade(o, files[check].FD); err != nil {
			return err
		}
		return started()
	case o.check:
		return checkRules(o, stdout)
	case o.reader:
		return runReader(o, files, started, exit)
	case o.node:
		return runNode(o, files)
	}
	receive := !onlyWatches(o, files)
	if before != nil {
		before.Settle()
		receive = receiver.Receives(before)
	}
	if o.receiver.Name == "" {
		if o.receiver.Name, err = nodeName(); err != nil {
			return err
		}
	}
	if err := timezone.Read(); err != nil {
		o.notices = append(o.notices, "the time zone is unknown: "+err.Error())
	}
	o.receiver.Inside = inContainer(o, files)
	p, err := newProgram(o, before, exit)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.begin(o, files, before, receive, started); err != nil {
		if before != nil { // nobody waits for this program's start
			p.receiver.SayEnds(before, err)
		}
		return err
	}
	return p.run()
}

// inContainer returns whether the runtime confines this process together with the container.
func inContainer(o *options, files []handover.File) bool {
	return o.alone || slices.ContainsFunc(files, func(f handover.File) bool { return f.Name == handover.NameChroot })
}

// onlyWatches returns whether there is nothing to receive from.
func onlyWatches(o *options, files []handover.File) bool {
	root := false
	for _, f := range files {
		if handover.IsSocket(f.Name) {
			return false
		}
		root = root || f.Name == handover.NameRoot
	}
	return root && len(o.receiver.Repair.Command) > 0 && len(o.receiver.Listen) == 0
}

// The main goroutine stays on the main thread. Each thread has its own sandbox: only a thread
// with a child's sandbox, or a wider one, may signal and inspect the child. /proc shows this
// process by its main thread. Its name is what ps(1) shows: run from memory, it would be a
// descriptor's.
func init() {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&[]byte("devlogd\x00")[0])), 0, 0, 0) // for people only
}

// calm does what can wait until after the start.
func calm() {
	debug.SetGCPercent(25) // receiving allocates nothing, so keep the heap at 1 MB
	eventloop.CalmMonitor()
}
