package receiver

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// hangUp does what SIGHUP asks for: the configuration and the time zone are read
// again, and the files reopened.
func (r *receiver) hangUp() {
	r.reopens++
	zoneErr := readZone()
	r.lines.stamp, r.lines.precise = syslog.Stamp{}, syslog.PreciseStamp{}
	for _, route := range r.routes {
		route.out.Reopen(time.Now())
	}
	if r.rereadRules != nil && r.batch != nil {
		r.reload()
	}
	if zoneErr != nil {
		r.say(syslog.Warning, r.inSandbox(zoneErr)+": the time zone stays as it was")
	}
}

// reload reads the rules again. If one is wrong, or a new output cannot be
// opened, the rules stay as they were.
func (r *receiver) reload() {
	rules, err := r.rereadRules()
	var to *routing
	if err == nil {
		to, err = r.routesOf(rules)
	}
	if err != nil {
		r.say(syslog.Warning, "the rules stay as they were: "+r.inSandbox(err))
		return
	}
	before := r.routes
	if slices.EqualFunc(before, to.routes, sameRules) {
		return // they are as they were
	}
	r.use(to)
	r.leaveBehind(before)
	if r.sender {
		r.askSenders()
	}
	r.say(syslog.Notice, "read the rules again: "+strconv.Itoa(len(rules)))
	r.sayRemarks(to)
}

func sameRules(a, b route) bool {
	return a.out == b.out && slices.EqualFunc(a.rules, b.rules, func(a, b syslogconf.Rule) bool { return a.String() == b.String() })
}

// leaveBehind closes the outputs that no rule leads to any more. One that has something
// to write still is kept, without messages, up to the next time.
func (r *receiver) leaveBehind(before []route) {
	now := time.Now()
	for i := range r.routes {
		if t, ok := r.routes[i].out.(*tap); ok && t.summary != nil {
			t.sumUp()
			t.summary = r.summary(r.routes[i].rules[0].Action)
		}
	}
	for _, old := range before {
		if slices.ContainsFunc(r.routes, func(now route) bool { return now.out == old.out }) {
			continue
		}
		if t, ok := old.out.(*tap); ok {
			t.sumUp()
		}
		old.out.Flush(now)
		if c := old.out.Counts(); c.Pending+c.Untold > 0 && r.findRoute(old.rules[0].Place()) == nil {
			nothing := syslogconf.Rule{Action: old.rules[0].Action}
			r.routes = append(r.routes, route{old.out, []syslogconf.Rule{nothing}})
			continue
		}
		r.closeOutput(old.out)
	}
}

// askSenders has the kernel say who sends each message from now on.
func (r *receiver) askSenders() {
	r.batch.askSenders()
	for _, s := range r.sockets {
		if !s.stream {
			_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1) // see watchSocket
		}
	}
	if r.streams == nil {
		return
	}
	for fd, c := range r.streams.open {
		if cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			c.sender = sender(cred)
		}
	}
}

// inSandbox is the error in words, and says so if the receiver's sandbox may be
// what is in the way.
func (r *receiver) inSandbox(err error) string {
	if r.sandbox != nil && r.sandbox.landlock && errors.Is(err, unix.EACCES) {
		return fmt.Sprint(err, ": it is outside of this receiver's sandbox: restart it")
	}
	return err.Error()
}
