package receiver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/router"
	"devlog/internal/safepath"
	"devlog/internal/sandbox"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// RulesError is an error in the rules.
type RulesError struct{ error }

func (e RulesError) Unwrap() error { return e.error }

// OpenOutputs reads the rules and opens their outputs. The first message creates a log file. For
// the process's future user (nil: no change), OpenOutputs does so now, with the user's privileges,
// and reports files that the user may not write. An error in the rules is a RulesError.
func (r *Receiver) OpenOutputs(user *sandbox.User) error {
	rules, err := r.config.Rules()
	if err != nil {
		return RulesError{err}
	}
	if user == nil {
		return r.openOutputs(rules)
	}
	for _, rule := range rules {
		if rule.Kind == syslogconf.File {
			if err := r.makeDirectory(filepath.Dir(rule.Path), user); err != nil {
				return err
			}
		}
	}
	if r.config.Metrics != "" {
		if err := r.makeDirectory(filepath.Dir(r.config.Metrics), user); err != nil {
			return err
		}
	}
	r.router.As, r.router.Creates = func(open func() error) error { return sandbox.AsUser(*user, open) }, true
	err = r.router.As(func() error { return r.openOutputs(rules) })
	r.router.As = nil
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w for user %d (--user); hint: give it to that user with chown(1)", err, user.UID)
	}
	return err
}

// openOutputs opens the outputs of these rules.
func (r *Receiver) openOutputs(rules []syslogconf.Rule) error {
	to, err := r.router.Prepare(rules)
	if err != nil {
		return err
	}
	r.use(to)
	r.router.KeepOthers()
	r.sayRemarks(to)
	r.receives, r.router.Creates = true, true // a reload finds out at once what the sandbox allows
	return nil
}

// makeDirectory creates a directory for the user, if it does not exist.
func (r *Receiver) makeDirectory(path string, user *sandbox.User) error {
	if _, err := os.Stat(path); !errors.Is(err, unix.ENOENT) {
		return nil // problems are found when it is used
	}
	return safepath.MakeDirectory(path, r.Below(path), user.UID, user.GID)
}

// sharedDev is a directory in which containers that share it create files.
const sharedDev = "/dev"

// Below returns the directory below which no links are followed on that path, because a
// container may have made them. In a container, its own links are followed.
func (r *Receiver) Below(path string) string {
	if !r.config.Inside && strings.HasPrefix(filepath.Clean(path), sharedDev+"/") {
		return sharedDev
	}
	return r.config.Logs
}

// wake makes the loop run when an output's descriptor is writable.
func (r *Receiver) wake(fd int) {
	// If this fails, the next message wakes the loop.
	_ = r.process.Loop.Poll(fd, unix.EPOLLOUT|unix.EPOLLET, r.Soon)
}

// sayProblems logs the problems that outputs found during a flush.
func (r *Receiver) sayProblems(now time.Time) {
	for problem := r.router.Problem(); problem != nil; problem = r.router.Problem() {
		text := problem.Error() + "; trying again, what is lost is counted"
		before := r.router.Written()
		r.Say(syslog.Warning, text)
		r.router.Flush(now)
		if r.router.Written() == before { // no other output can report it
			r.tellKernel(text)
		}
	}
}

// use makes messages go there from now on, and logs remarks about the change.
func (r *Receiver) use(to *router.Routing) {
	lost := r.router.Use(to)
	if r.claims.Mark = to.Mark; to.Sender {
		r.intake.AskSenders()
	}
	for _, text := range lost {
		r.sayLost(text)
	}
}

func (r *Receiver) sayRemarks(to *router.Routing) {
	for _, text := range r.router.Remarks(to) {
		r.Say(syslog.Warning, text)
	}
}

// WritesToContainer returns whether a rule uses the container's standard output.
func (r *Receiver) WritesToContainer() bool { return r.router.Has(syslogconf.ContainerStdout) }

// CheckLoops returns an error if a rule sends messages back to their origin.
func (r *Receiver) CheckLoops() error {
	var paths []string
	for _, s := range r.sockets {
		paths = append(paths, s.name())
	}
	return r.router.CheckLoops(paths)
}

// name returns the path with which the socket was bound; "" if not known.
func (s *socket) name() string {
	if s.Path != "" {
		return s.Path
	}
	if name, err := unix.Getsockname(s.FD); err == nil {
		if at, ok := name.(*unix.SockaddrUnix); ok {
			return at.Name
		}
	}
	return ""
}

// CheckOutputs returns an error if an output of the rules cannot be opened. It leaves nothing
// open and rotates no file: another receiver may use them.
func (r *Receiver) CheckOutputs(rules []syslogconf.Rule) error {
	return r.router.Check(rules, r.config.Name)
}

// Report adds a problem to log.
func (r *Receiver) Report(problem error) { r.router.Report(problem) }

// Hangs returns whether a call for a file hung a moment ago. Then Hung says which.
func (r *Receiver) Hangs() bool { return r.router.Hangs() }

// Hung returns an error about the log file whose file system does not answer, or nil.
func (r *Receiver) Hung() error { return r.router.Hung() }

// SumUp sums up all repeats: another program gets the messages that follow.
func (r *Receiver) SumUp() { r.router.SumUp() }
