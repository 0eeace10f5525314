package devlogd

import (
	"errors"
	"fmt"
	"time"

	"devlog/internal/batch"
	"devlog/internal/confine"
	"devlog/internal/eventloop"
	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/lxcexec"
	"devlog/internal/process"
	"devlog/internal/receiver"
	"devlog/internal/syslog"
	"devlog/internal/watchdog"
)

// program is the running program. Only its loop's goroutine uses it.
type program struct {
	loop     *eventloop.Loop
	watchdog *watchdog.Watchdog
	receiver *receiver.Receiver
	exit     func(error) // ends the program while its main goroutine is stuck
	signals  *eventloop.Signals
	round    *eventloop.Task  // runs after events that are not the receiver's
	timer    *eventloop.Timer // for lxcExec

	inside    bool           // this process ends with the container, whose init waits for it
	awaits    bool           // after SIGTERM: only the container's end or SIGINT ends this process
	startRoot file.ID        // this process's root directory at the start
	lxcExec   *lxcexec.Watch // nil if this process does not end with LXC's init

	upgrade *upgrade              // the upgrade in progress, or nil
	sandbox *handover.Confinement // nil until confine was called
}

// newProgram returns a program whose receiver has nothing open yet. before is what the earlier
// program left.
func newProgram(o *options, before *handover.Description, exit func(error)) (p *program, err error) {
	p = &program{exit: exit, inside: o.receiver.Inside, startRoot: file.Root()}
	shared, err := process.New(Version, batch.New(), p.loopElsewhere, p.wakeUp)
	if err != nil {
		return nil, err
	}
	shared.Confined = p.confined
	p.loop, p.watchdog = shared.Loop, shared.Watchdog
	p.round = eventloop.NewTask(p.step)
	p.timer = p.loop.NewTimer(func(time.Time) { p.loop.Soon(p.round) })
	c := o.receiver
	c.Owner, c.Rules, c.Hosts = p, o.readRules, hostNames(c.Name, o.hosts)
	p.receiver = receiver.New(shared, c)
	if before != nil {
		p.awaits = before.Awaits
		p.receiver.Resume(before, true)
	}
	return p, nil
}

// confined returns whether this process can open only some files.
func (p *program) confined() bool { return p.sandbox != nil && p.sandbox.Landlock }

// begin opens everything, continues for the earlier program unless before is nil, and drops
// privileges.
func (p *program) begin(o *options, files []handover.File, before *handover.Description, receive bool, started func() error) error {
	r := p.receiver
	if receive {
		user := o.confine.User
		if wasConfined(before) { // the process is that user's already
			user = nil
		}
		if err := r.OpenOutputs(user); errors.As(err, new(receiver.RulesError)) {
			return usageError{err}
		} else if err != nil {
			return err
		}
	}
	if err := p.start(o, files, before); err != nil {
		return err
	}
	if err := r.CheckLoops(); err != nil {
		return usageError{err}
	}
	confine.Unhide(p.inside, r.Init() < 0 && r.Needs().Root < 0)
	r.Flush(time.Now())                                 // outputs look at their files before the container runs
	short := r.WritesToContainer()                      // such a container may log and end at once: its output must be open
	early := o.confine.User != nil || p.inside || short // it can fail, or takes almost no time
	if early {
		if err := p.confine(o, before); err != nil {
			return err
		}
	}
	if short {
		calm()
	}
	for _, tell := range []func() error{func() error { return o.sayReady(before != nil) }, started} {
		if err := tell(); err != nil { // once it is reported, others rely on it
			return err
		}
	}
	// No message has been read yet, so the privileges can be dropped after the report, and the
	// hook does not wait for it.
	if !early {
		if err := p.confine(o, before); err != nil {
			return p.end(r.Fail(err))
		}
	}
	if before != nil {
		p.sayResumed(before)
	}
	for _, text := range o.toSay(before != nil) {
		r.Say(syslog.Warning, text)
	}
	r.Flush(time.Now())
	if !short {
		calm()
	}
	return nil
}

// start takes the sockets and other files, and waits for their events.
func (p *program) start(o *options, files []handover.File, before *handover.Description) (err error) {
	// Catch signals before anybody can send messages, which a signal would lose. It takes a
	// sixth of the start, because Go's runtime switches threads twice for each signal.
	if err := p.catchSignals(); err != nil {
		return err
	}
	given := before
	if given == nil {
		if given, err = handover.Describe(files); err != nil {
			return err
		}
	}
	if err := p.receiver.Take(given); err != nil {
		return err
	}
	if err := p.receiver.Start(); errors.Is(err, receiver.ErrNoSocket) {
		return usageError{fmt.Errorf("%w; hint: use --listen PATH or socket activation", err)}
	} else if err != nil {
		return err
	}
	if o.alone {
		p.lxcExec = lxcexec.New(o.await)
	}
	return nil
}

// wasConfined returns whether the earlier program of this process was confined.
func wasConfined(before *handover.Description) bool {
	return before != nil && before.Confinement != nil
}

// confine drops privileges. Call it when everything is open.
func (p *program) confine(o *options, before *handover.Description) error {
	if wasConfined(before) { // sandboxes would nest
		p.sandbox = before.Confinement
		return nil
	}
	c := o.confine
	c.Inside, c.Below = p.inside, p.receiver.Below
	c.Config, c.Included, c.Unread = o.rules.config, o.rules.included, len(o.rules.texts) > 0 && o.rules.config == ""
	entered, notices, err := confine.Enter(c, p.receiver.Needs())
	if err != nil {
		return err
	}
	p.sandbox = entered
	for _, text := range notices {
		p.receiver.Say(syslog.Notice, text)
	}
	return nil
}

// run receives until a signal, the end of the container's first process, or being alone, and
// then drains the sockets. While a flush hangs, another goroutine may run it: see package
// watchdog.
func (p *program) run() error {
	p.receiver.Soon()
	switch err := p.loop.Run(); {
	case errors.Is(err, eventloop.ErrYielded):
		return err
	case err != nil:
		return p.end(p.receiver.Fail(err))
	}
	return p.end(p.receiver.End())
}

// end waits, for a limited time, until an ending receiver has written everything. It returns
// the receiver's error.
func (p *program) end(err error) error {
	for {
		now := time.Now()
		next := p.receiver.Rest(now)
		if next.IsZero() {
			return err
		}
		time.Sleep(next.Sub(now))
	}
}

// loopElsewhere runs the loop while the main goroutine is stuck in a write.
func (p *program) loopElsewhere() {
	err := p.run()
	if errors.Is(err, eventloop.ErrYielded) {
		return
	}
	p.close()
	p.exit(err)
}

// close closes the receiver's outputs and removes its names.
func (p *program) close() {
	p.receiver.Close()
	p.loop.Close()
}

// Written is part of receiver.Owner.
func (p *program) Written() {}

// Ended ends the program with its receiver.
func (p *program) Ended(err error) { p.loop.Fail(err) }

// Stepped continues after the receiver's work.
func (p *program) Stepped(time.Time) { p.step() }

// step does the program's own work that is due.
func (p *program) step() {
	if p.receiver.Hangs() {
		p.signals.Fetch()
	}
	if p.stepUpgrade() || p.lxcExec.Step(p.loop.Now(), p.watch) {
		p.loop.Stop()
	}
	p.timer.Set(p.lxcExec.Next())
}

// watch waits for the descriptor of the watch for LXC's init.
func (p *program) watch(fd int) error {
	return p.loop.Add(fd, func() {
		p.lxcExec.Event(fd)
		p.loop.Soon(p.round)
	})
}

// hung returns why the program cannot be replaced now: execve(2) waits for the end of all
// threads, and a thread that waits for a file system cannot end.
func (p *program) hung() error {
	if err := p.receiver.Hung(); err != nil {
		return err
	}
	if eventloop.ThreadHangs() {
		return errors.New("a file system does not answer; hint: try again when it does")
	}
	return nil
}
