// Package receiver owns the receiver: the program devlogd, which reads what
// local programs send to their syslog socket and passes it to the outputs.
package receiver

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
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"devlog/internal/daemon"
	"devlog/internal/eventloop"
	"devlog/internal/handover"
	"devlog/internal/logfile"
	"devlog/internal/router"
	"devlog/internal/sandbox"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
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
			err = enterRoot(f.FD)
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
	goesOn := before != nil || slices.ContainsFunc(files, func(f handover.File) bool { return f.Name == handover.NameCheck })
	o, err := parseOptions(args, os.Environ(), goesOn)
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
	}
	read := func() (rules []syslogconf.Rule, err error) {
		if rules, o.included, err = syslogconf.LoadAll(o.config, o.rules, syslogconf.DefaultMessages); err == nil {
			err = expand(rules, o.name)
		}
		return rules, err
	}
	load := sync.OnceValues(read)
	for _, f := range files {
		if f.Name == handover.NameCheck {
			if err := checkUpgrade(o, f.FD, load); err != nil {
				return err
			}
			return started()
		}
	}
	receive := !onlyKeeps(o, files)
	if o.check {
		return checkRules(load, stdout)
	}
	if before != nil {
		receive = receives(before)
	}
	if o.name == "" {
		if o.name, err = nodeName(); err != nil {
			return err
		}
	}
	if err := readZone(); err != nil {
		o.notices = append(o.notices, "the time zone is unknown: "+err.Error())
	}
	unix.Umask(0o022)
	signal.Ignore(unix.SIGPIPE, unix.SIGXFSZ) // errors of write(2) are handled
	r := newReceiver(o, load)
	r.rereadRules = read
	r.exit = exit
	defer r.close()
	r.store = kept
	if err := r.prepare(o); err != nil {
		return err
	}
	if err := r.begin(o, files, before, receive, started); err != nil {
		if before != nil { // nobody waits for the start of this program
			r.sayEnds(before, err)
		}
		return err
	}
	return r.run()
}

// begin opens everything, goes on where another program ended if before is not nil,
// and gives up the rights that are needed no more.
func (r *receiver) begin(o *options, files []handover.File, before *handover.Description, receive bool, started func() error) error {
	r.inside = inContainer(o, files)
	if before != nil {
		r.resumeFrom(before)
	}
	if receive {
		if _, err := r.loadRules(); err != nil {
			return usageError{err}
		}
		if err := r.openOutputsAs(o.user); err != nil {
			return err
		}
	}
	if err := r.start(o, files); err != nil {
		return err
	}
	if err := r.loops(); err != nil {
		return err
	}
	r.unhide()
	r.Flush(time.Now())                         // outputs look at what there is before the container runs
	short := r.writesToContainer()              // which may log and end at once: its output does not wait
	early := o.user != nil || r.inside || short // it can fail, or is next to nothing
	if early {
		if err := r.confine(o); err != nil {
			return err
		}
	}
	if short {
		settle()
	}
	r.stepStore()
	for _, tell := range []func() error{r.tellReady, func() error { return o.sayReady(before != nil) }, started} {
		if err := tell(); err != nil { // one who was told relies on it
			return err
		}
	}
	// Nothing has been received so far: who waits for the start need not wait
	// for this too.
	if !early {
		if err := r.confine(o); err != nil {
			return r.fail(err)
		}
	}
	if before != nil {
		r.sayResumed()
	}
	for _, text := range o.toSay(before != nil) {
		r.say(syslog.Warning, text)
	}
	r.Flush(time.Now())
	if !short {
		settle()
	}
	return nil
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

// checkRules says what is wrong with the rules, each line that is, and what is
// taken for right and does nothing.
func checkRules(load func() ([]syslogconf.Rule, error), stdout io.Writer) error {
	rules, err := load()
	var wrong syslogconf.WrongLines
	if errors.As(err, &wrong) {
		err = errors.Join(wrong...)
	}
	if err != nil {
		return usageError{err}
	}
	var failed []error
	for _, rule := range rules {
		if text := router.Remark(rule); text != "" {
			if _, err := fmt.Fprintf(stdout, "devlogd: %s\n", text); err != nil {
				return err
			}
		}
		if rule.Kind != syslogconf.File {
			continue
		}
		if err := logfile.CheckPath(rule.Path); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", rule.Origin(), err))
		}
	}
	if len(failed) > 0 {
		return usageError{errors.Join(failed...)}
	}
	return nil
}

// namePlaceholder stands for the container's name in the path of a rule.
const namePlaceholder = "{name}"

// expand puts the name into the paths of the rules. A name that is not one of a file is
// an error if a rule asks for it: it could lead anywhere.
func expand(rules []syslogconf.Rule, name string) error {
	for i := range rules {
		path := strings.ReplaceAll(rules[i].Path, namePlaceholder, name)
		if path != rules[i].Path && (name == "." || name == ".." || strings.Contains(name, "/")) {
			return fmt.Errorf("%s: %q cannot stand for %s in a path: use --name with another name", rules[i].Origin(), name, namePlaceholder)
		}
		rules[i].Path = path
	}
	return nil
}

// hostNames are the names by which a client may call this host.
func hostNames(name string, others []string) [][]byte {
	names := [][]byte{[]byte(name)}
	if short := router.ShortID(name); short != "" {
		names = append(names, []byte(short))
	}
	for _, other := range others {
		names = append(names, []byte(other))
	}
	if node, err := nodeName(); err == nil && node != name {
		names = append(names, []byte(node))
	}
	return names
}

func nodeName() (string, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "", fmt.Errorf("cannot read the host name: %w", err)
	}
	name := unix.ByteSliceToString(uts.Nodename[:])
	if name == "" {
		return "localhost", nil
	}
	// A line must stay one line whatever the host is called.
	return strings.Map(func(c rune) rune {
		if c <= ' ' || c >= 0x7f {
			return '?'
		}
		return c
	}, name), nil
}
