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

// OpenOutputs reads the rules and opens their outputs, with the rights of the user that
// the process is to be: what it makes is that user's, and what that user may not write to
// is said now. Nil is the user that it is. An error in the rules is a RulesError.
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
	r.router.As = func(open func() error) error { return sandbox.AsUser(*user, open) }
	err = r.router.As(func() error { return r.openOutputs(rules) })
	r.router.As = nil
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w for user %d (--user): give it to that user with chown(1)", err, user.UID)
	}
	return err
}

// openOutputs prepares for receiving.
func (r *Receiver) openOutputs(rules []syslogconf.Rule) error {
	r.router.Tolerant = r.resumed != nil
	to, err := r.router.Prepare(rules)
	if err != nil {
		return err
	}
	r.use(to)
	r.resumeOthers()
	r.sayRemarks(to)
	r.receives = true
	return nil
}

// makeDirectory makes a directory that does not exist, and gives it to the user.
func (r *Receiver) makeDirectory(path string, user *sandbox.User) error {
	if _, err := os.Stat(path); !errors.Is(err, unix.ENOENT) {
		return nil // what is wrong with it is found when it is used
	}
	return safepath.MakeDirectory(path, r.Below(path), user.UID, user.GID)
}

// sharedDev is a directory in which a container that shares it makes files too.
const sharedDev = "/dev"

// Below is the directory from which on no link is followed to that path: a container
// may have laid it. What a container's own links lead to is the container's.
func (r *Receiver) Below(path string) string {
	if !r.config.Inside && strings.HasPrefix(filepath.Clean(path), sharedDev+"/") {
		return sharedDev
	}
	return r.config.Logs
}

// wake has the loop go round when an output's descriptor can be written to.
func (r *Receiver) wake(fd int) {
	// Without it the next message has the same effect.
	_ = r.process.Loop.Poll(fd, unix.EPOLLOUT|unix.EPOLLET, func() error { r.Soon(); return nil })
}

// sayProblems says what outputs have found out while they were flushed.
func (r *Receiver) sayProblems(now time.Time) {
	for problem := r.router.Problem(); problem != nil; problem = r.router.Problem() {
		text := problem.Error() + ": tried again, and what is lost is counted"
		before := r.router.Written()
		r.Say(syslog.Warning, text)
		r.router.Flush(now)
		if r.router.Written() == before { // there is no other output that tells
			r.tellKernel(text)
		}
	}
}

// use has messages go there from now on, and says what is to be said of that.
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

// WritesToContainer reports whether a rule has the container's standard output.
func (r *Receiver) WritesToContainer() bool { return r.router.Has(syslogconf.ContainerStdout) }

// forwardSocket is where journald forwards to a syslog daemon (ForwardToSyslog= in
// journald.conf(5)).
const forwardSocket = "/run/systemd/journal/syslog"

// CheckLoops is an error if a rule sends messages back to where they come from.
func (r *Receiver) CheckLoops() error {
	for _, kind := range []syslogconf.Kind{syslogconf.Journal, syslogconf.Syslog} {
		if !r.router.Has(kind) {
			continue
		}
		action := syslogconf.Action{Kind: kind}
		for _, s := range r.sockets {
			switch path := s.name(); {
			case path == forwardSocket:
				return fmt.Errorf("journald forwards to %s: a rule with the action %s would send each message round: leave the rule out", path, action.Place())
			case kind == syslogconf.Syslog && path == router.SyslogSocket():
				return fmt.Errorf("no other daemon listens on this host: the action %s would send each message back to %s: leave the rule out", action.Place(), path)
			}
		}
	}
	return nil
}

// name is the path that the socket was bound with; empty if that is not known.
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

// CheckOutputs is an error if an output of the rules could not be opened. Nothing that
// is open stays so, and no file is rotated: another receiver may have them open.
func (r *Receiver) CheckOutputs(rules []syslogconf.Rule) error {
	for _, rule := range rules {
		if rule.Kind == syslogconf.Everybody {
			continue
		}
		rule.Path = rule.Place()
		rule.Rotation = syslogconf.Rotation{}
		out, _, err := r.router.Open(rule, r.config.Name)
		if err != nil {
			return err
		}
		out.Close()
	}
	return nil
}

// Report adds a problem, to be said with those that outputs find.
func (r *Receiver) Report(problem error) { r.router.Report(problem) }

// Hangs reports whether a call for a file hung a moment ago. Then Hung says which does.
func (r *Receiver) Hangs() bool { return r.router.Hangs() }

// Hung is an error that says which log file's file system does not answer, or nil.
func (r *Receiver) Hung() error { return r.router.Hung() }

// SumUp sums up all repeats: the messages that follow are another program's.
func (r *Receiver) SumUp() { r.router.SumUp() }
