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

// openOutputsAs opens the outputs with the rights of the user that the receiver
// is to be: what it makes is his, and what he may not write to is said now.
func (r *receiver) openOutputsAs(user *sandbox.User) error {
	if user == nil || r.resumed != nil && r.resumed.Confinement != nil { // this process is his already
		return r.openOutputs()
	}
	rules, err := r.loadRules()
	if err != nil {
		return err
	}
	for _, rule := range rules {
		if rule.Kind == syslogconf.File {
			if err := r.makeDirectory(filepath.Dir(rule.Path), user); err != nil {
				return err
			}
		}
	}
	if r.metrics.path != "" {
		if err := r.makeDirectory(filepath.Dir(r.metrics.path), user); err != nil {
			return err
		}
	}
	r.router.As = func(open func() error) error { return sandbox.AsUser(*user, open) }
	err = r.router.As(r.openOutputs)
	r.router.As = nil
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w for user %d (--user): give it to that user with chown(1)", err, user.UID)
	}
	return err
}

// openOutputs prepares for receiving.
func (r *receiver) openOutputs() (err error) {
	r.router.Tolerant = r.resumed != nil
	rules, err := r.loadRules()
	if err != nil {
		return err
	}
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
func (r *receiver) makeDirectory(path string, user *sandbox.User) error {
	if _, err := os.Stat(path); !errors.Is(err, unix.ENOENT) {
		return nil // what is wrong with it is found when it is used
	}
	return safepath.MakeDirectory(path, r.below(path), user.UID, user.GID)
}

// sharedDev is a directory in which a container that shares it makes files too.
const sharedDev = "/dev"

// below is the directory from which on no link is followed to that path: a container
// may have laid it. What a container's own links lead to is the container's.
func (r *receiver) below(path string) string {
	if !r.inside && strings.HasPrefix(filepath.Clean(path), sharedDev+"/") {
		return sharedDev
	}
	return r.logs
}

// wake has the loop go round when an output's descriptor can be written to.
func (r *receiver) wake(fd int) {
	// Without it the next message has the same effect.
	_ = r.loop.Poll(fd, unix.EPOLLOUT|unix.EPOLLET, func() error { r.loop.Soon(r.round); return nil })
}

// sayProblems says what outputs have found out while they were flushed.
func (r *receiver) sayProblems(now time.Time) {
	for problem := r.router.Problem(); problem != nil; problem = r.router.Problem() {
		text := problem.Error() + ": tried again, and what is lost is counted"
		before := r.router.Written()
		r.say(syslog.Warning, text)
		r.router.Flush(now)
		if r.router.Written() == before { // there is no other output that tells
			r.tellKernel(text)
		}
	}
}

// use has messages go there from now on, and says what is to be said of that.
func (r *receiver) use(to *router.Routing) {
	lost := r.router.Use(to)
	if r.claims.Mark = to.Mark; to.Sender {
		r.intake.AskSenders()
	}
	for _, text := range lost {
		r.sayLost(text)
	}
}

func (r *receiver) sayRemarks(to *router.Routing) {
	for _, text := range r.router.Remarks(to) {
		r.say(syslog.Warning, text)
	}
}

// writesToContainer reports whether a rule has the container's standard output.
func (r *receiver) writesToContainer() bool { return r.router.Has(syslogconf.ContainerStdout) }

// forwardSocket is where journald forwards to a syslog daemon (ForwardToSyslog= in
// journald.conf(5)).
const forwardSocket = "/run/systemd/journal/syslog"

// loops is an error if a rule sends messages back to where they come from.
func (r *receiver) loops() error {
	for _, kind := range []syslogconf.Kind{syslogconf.Journal, syslogconf.Syslog} {
		if !r.router.Has(kind) {
			continue
		}
		action := syslogconf.Action{Kind: kind}
		for _, s := range r.sockets {
			switch path := s.name(); {
			case path == forwardSocket:
				return usageError{fmt.Errorf("journald forwards to %s: a rule with the action %s would send each message round: leave the rule out", path, action.Place())}
			case kind == syslogconf.Syslog && path == router.SyslogSocket():
				return usageError{fmt.Errorf("no other daemon listens on this host: the action %s would send each message back to %s: leave the rule out", action.Place(), path)}
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
