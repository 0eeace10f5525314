package receiver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/logfile"
	"devlog/internal/output"
	"devlog/internal/safepath"
	"devlog/internal/sandbox"
	"devlog/internal/sink"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

const (
	// writable marks the events of outputs, of which the descriptors are
	// theirs (epoll_event.data, beside the descriptor).
	writable = 1
	// readerTime is how long an ending receiver waits for the readers of
	// streams: whoever waits for its end must not wait for them.
	readerTime = time.Second
	// readerPoll is how often it looks whether they take more.
	readerPoll = 10 * time.Millisecond
)

// openOutputsAs opens the outputs with the rights of the user that the receiver
// is to be: what it makes is his, and what he may not write to is said now.
func (r *receiver) openOutputsAs(user *sandbox.User) error {
	if user == nil || r.resumed != nil && r.resumed.sandbox != nil { // this process is his already
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
	r.openAs = func(open func() error) error { return sandbox.AsUser(*user, open) }
	err = r.openAs(r.openOutputs)
	r.openAs = nil
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w for user %d (--user): give it to that user with chown(1)", err, user.UID)
	}
	return err
}

// openOutputs prepares for receiving.
func (r *receiver) openOutputs() (err error) {
	rules, err := r.loadRules()
	if err != nil {
		return err
	}
	to, err := r.routesOf(rules)
	if err != nil {
		return err
	}
	r.use(to)
	r.resumeOthers()
	r.sayRemarks(to)
	if r.store != nil {
		r.batch = keptBatch(r.store, r.sender)
		return nil
	}
	if r.batch, err = newBatch(r.sender); err == nil {
		r.waiter.rest = r.batch.rest
	}
	return err
}

// routing is where messages go, by rules.
type routing struct {
	routes   []route
	opened   []output.Output // of these, those that were opened for it
	rotated  []rotated       // open files that are to be rotated otherwise
	problems []kernelProblem
	remarks  []string
	sender   bool // who sent a message is asked for
	mark     bool // and compared with what it claims
}

// routesOf opens the outputs of the rules that are not open already. Nothing is
// changed by that, and with an error nothing stays open.
func (r *receiver) routesOf(rules []syslogconf.Rule) (*routing, error) {
	to := &routing{}
	for _, rule := range rules {
		if text := remark(rule); text != "" {
			to.remarks = append(to.remarks, text)
		}
		if rule.Kind == syslogconf.Everybody {
			continue
		}
		rule.Path = rule.Place() // one file, one output
		to.sender = to.sender || rule.NeedsSender()
		to.mark = to.mark || rule.Sender
		if known := find(to.routes, rule.Place()); known != nil {
			known.rules = append(known.rules, rule)
			continue
		}
		out, err := r.outputOf(rule, to)
		if err != nil {
			for _, opened := range to.opened {
				opened.Close()
			}
			return nil, err
		}
		to.routes = append(to.routes, route{out, []syslogconf.Rule{rule}})
	}
	return to, nil
}

// outputOf returns the output that a rule's messages go to: the one that is open,
// unless it does not suit the rule.
func (r *receiver) outputOf(rule syslogconf.Rule, to *routing) (output.Output, error) {
	known := find(r.routes, rule.Place())
	if known != nil && known.rules[0].Kind == rule.Kind {
		if file, ok := behind(known.out).(*logfile.Guarded); ok && known.rules[0].Rotation != rule.Rotation {
			to.rotated = append(to.rotated, rotated{file, logfile.Rotation(rule.Rotation)})
		}
		return known.out, nil
	}
	out, problem, err := r.open(rule, string(r.host))
	if err != nil {
		out.Close()
		return nil, err
	}
	if problem != nil {
		to.problems = append(to.problems, kernelProblem{rule.Place(), problem})
	}
	to.opened = append(to.opened, out)
	return r.resume(r.newTap(out, rule.Action)), nil
}

// rotated is a file that is to be rotated otherwise.
type rotated struct {
	file     *logfile.Guarded
	rotation logfile.Rotation
}

// use has messages go there from now on.
func (r *receiver) use(to *routing) {
	for _, file := range to.rotated {
		file.file.SetRotation(file.rotation)
	}
	r.routes, r.sender, r.senders.mark = to.routes, to.sender, to.mark
}

// sayRemarks says what is to be said of the rules that are in force now.
func (r *receiver) sayRemarks(to *routing) {
	for _, problem := range to.problems {
		r.say(syslog.Warning, problem.inWords(r.findRoute(problem.place).rules))
	}
	for _, text := range to.remarks {
		r.say(syslog.Warning, text)
	}
}

// kernelProblem is why the kernel's log at the place cannot be written.
type kernelProblem struct {
	place string
	err   error
}

// inWords says so, and what that means for the rules that lead there.
func (p kernelProblem) inWords(rules []syslogconf.Rule) string {
	var texts []string
	for _, rule := range rules {
		texts = append(texts, strconv.Quote(rule.String()))
	}
	return fmt.Sprintf("the kernel's log cannot be written here (%v): only what %s sends there is counted as lost", p.err, strings.Join(texts, ", "))
}

func (r *receiver) findRoute(place string) *route { return find(r.routes, place) }

func find(routes []route, place string) *route {
	for i := range routes {
		if routes[i].rules[0].Place() == place {
			return &routes[i]
		}
	}
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

// open opens the output of a rule. A problem is one that the other rules can
// go on with.
func (r *receiver) open(rule syslogconf.Rule, name string) (out output.Output, problem, err error) {
	stream := sink.StreamOptions{
		Path: rule.Path, Below: r.below(rule.Path), Notice: r.notice, Wake: r.wake, Init: func() int { return r.init },
		Problem: func(err error) { r.problems = append(r.problems, err) },
	}
	switch rule.Kind {
	case syslogconf.Kernel:
		out, problem = sink.OpenKernel(rule.Path, name)
		return out, problem, nil
	case syslogconf.FIFO:
		stream.Kind = sink.FIFO
	case syslogconf.Terminal:
		stream.Kind = sink.Terminal
	case syslogconf.Stdout:
		stream.Kind, stream.Path = sink.Stdout, ""
	case syslogconf.ContainerStdout:
		stream.Kind, stream.Path = sink.ContainerStdout, ""
	default:
		out, err = logfile.OpenGuarded(rule.Path, logfile.Options{
			Notice: r.notice, Rotation: logfile.Rotation(rule.Rotation), Below: stream.Below,
		}, logfile.GuardOptions{Watchdog: r.watchdog, Problem: func(err error) { r.hangs = true; stream.Problem(err) }, As: r.openAs})
		if err != nil && r.resumed != nil { // it could be opened a moment ago: no reason to end
			r.problems = append(r.problems, err)
			err = nil
		}
		return out, nil, err
	}
	return sink.OpenStream(stream), nil, nil
}

// wake has the loop go round when an output's descriptor can be written to.
func (r *receiver) wake(fd int) {
	event := unix.EpollEvent{Events: unix.EPOLLOUT | unix.EPOLLET, Fd: int32(fd), Pad: writable}
	_ = unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &event) // without it the next message has the same effect
}

// sayProblems says what outputs have found out while they were flushed.
func (r *receiver) sayProblems(now time.Time) {
	for len(r.problems) > 0 {
		problem := r.problems[0]
		r.problems = r.problems[1:]
		text := problem.Error() + ": tried again, and what is lost is counted"
		before := r.written()
		r.say(syslog.Warning, text)
		for _, route := range r.routes {
			route.out.Flush(now)
		}
		if r.written() == before { // there is no other output that tells
			r.tellKernel(text)
		}
	}
}

// written is how many messages the outputs have written.
func (r *receiver) written() (n uint64) {
	for _, route := range r.routes {
		n += route.out.Counts().Written
	}
	return n
}

// writesToContainer reports whether a rule has the container's standard output.
func (r *receiver) writesToContainer() bool {
	return slices.ContainsFunc(r.routes, func(to route) bool { return to.rules[0].Kind == syslogconf.ContainerStdout })
}
