// Package devlogd owns the program devlogd: its options, its one event loop with the
// signals, the sandbox, how it goes on as another version or after a kill, and its exit
// codes. What it does for a container is a receiver's.
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

	"devlog/internal/daemon"
	"devlog/internal/eventloop"
	"devlog/internal/handover"
	"devlog/internal/logfile"
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

// Main runs devlogd with args, of which the first is the program's name, and
// returns its exit code. A start that fails is one line on the pipe that was
// passed as handover.NameReady or, without that, on stderr.
func Main(args []string, stdout, stderr io.Writer) int {
	sandbox.Hide()
	logfile.OneProcessor() // the program has, by uniprocessor; a test that is one has not
	before, err := handover.Inherit()
	files, ferr := handover.Inherited()
	var kept *store
	final := false // it would not be another time
	if before == nil && ferr == nil {
		files, kept, ferr = openStore(files)
		final = ferr != nil
	}
	if kept != nil && kept.Restarted && err == nil {
		before, err = kept.Restart()
	}
	ready := -1
	for _, f := range files {
		if f.Name == handover.NameReady {
			ready = f.FD
		}
		if f.Name == handover.NameChroot && err == nil {
			err = sandbox.EnterRoot(f.FD)
			sandbox.DropGuard() // from here on it has nothing of the host's
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
		// Where the main goroutine is stuck the loop ends in another one.
		exit := func(err error) { os.Exit(exitCode(err, -1, kept, final, stderr)) }
		err = run(args[1:], stdout, files, before, kept, started, exit)
	}
	return exitCode(err, ready, kept, final, stderr)
}

// exitCode is the program's exit code. It reports the error, if there is one.
func exitCode(err error, ready int, kept *store, final bool, stderr io.Writer) int {
	if err == nil {
		return exitDone
	}
	if ready < 0 || handover.Report(ready, err) != nil {
		// --check-config has a line for each that is wrong.
		fmt.Fprintf(stderr, "devlogd: %s\n", strings.ReplaceAll(err.Error(), "\n", "\ndevlogd: "))
	}
	if final || kept != nil && (!kept.Restarted || errors.As(err, new(usageError))) && !kept.started {
		return daemon.ExitFinal
	}
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitFailed
}

// run is Main without the report. before is what the program before this one has
// left, kept what outlives the process. started is called once everything is
// ready, exit when the receiver has ended while the call of run is stuck.
func run(args []string, stdout io.Writer, files []handover.File, before *handover.Description, kept *store, started func() error, exit func(error)) error {
	// A program that goes on has another's command line.
	check := slices.IndexFunc(files, func(f handover.File) bool { return f.Name == handover.NameCheck })
	o, err := parseOptions(args, os.Environ(), before != nil || check >= 0)
	if err != nil {
		return usageError{err}
	}
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
	}
	receive := !onlyKeeps(o, files)
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
	unix.Umask(0o022)
	signal.Ignore(unix.SIGPIPE, unix.SIGXFSZ) // errors of write(2) are handled
	o.receiver.Inside = inContainer(o, files)
	p, err := newProgram(o, before, kept, exit)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.begin(o, files, before, receive, started); err != nil {
		if before != nil { // nobody waits for the start of this program
			p.receiver.SayEnds(before, err)
		}
		return err
	}
	return p.run()
}

// inContainer says that the runtime confines this process with the container.
func inContainer(o *options, files []handover.File) bool {
	return o.alone || slices.ContainsFunc(files, func(f handover.File) bool { return f.Name == handover.NameChroot })
}

// onlyKeeps says that there is nothing to receive from.
func onlyKeeps(o *options, files []handover.File) bool {
	root := false
	for _, f := range files {
		if handover.IsSocket(f.Name) {
			return false
		}
		root = root || f.Name == handover.NameRoot
	}
	return root && len(o.receiver.Repair.Command) > 0 && len(o.receiver.Listen) == 0
}

// The main goroutine stays on the main thread. A sandbox is each thread's own:
// what this one starts is within its own, and may be signalled and looked at by
// it alone; and the process is known by this thread in /proc. Its name is what
// ps(1) shows: run from memory, it would be that of a descriptor.
func init() {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&[]byte("devlogd\x00")[0])), 0, 0, 0) // for people only
}

// settle does what is for the time after the start, which somebody waits for.
func settle() {
	debug.SetGCPercent(25) // receiving allocates nothing: keep the heap at 1 MB
	eventloop.CalmMonitor()
}
