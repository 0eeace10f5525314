// Package watcher watches /dev/log of a container, and has devlog-hook repair it
// again when somebody has replaced it, such as a syslog daemon of the host that
// starts and unlinks it.
//
// A Watcher has no goroutine, no globals and no event loop of its own: it works for
// an Owner, on whose loop it waits. A process may have many.
package watcher

import (
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/rerun"
	"devlog/internal/syslog"
)

const (
	// watchDelay is how long after its start a watcher begins to watch. What ends
	// sooner is spared that: to give up an inotify(7) instance takes the kernel
	// longer than all else at a short container's end, some 15 ms.
	watchDelay = 250 * time.Millisecond
	// endTime is how long a repair may go on when the watcher ends: killed, it
	// could leave the host without its socket's name. It takes milliseconds.
	endTime = 2 * time.Second
)

// Owner is what a Watcher works for: what receives the container's messages.
type Owner interface {
	// Names returns the names that the repair has made, with the sockets at them.
	// The Watcher keeps none of them.
	Names() []Name
	// Retire gives up the socket, whose name another daemon has now.
	Retire(socket int)
	// TakeOver takes the sockets and names of the repair with that number, which
	// is Name.Run from then on.
	TakeOver(files []handover.File, run int) error
	// Repaired is called after each repair that was needed.
	Repaired()
	// Say logs a message of the Watcher's.
	Say(severity syslog.Severity, text string)
	// Poll has Event called for these events (epoll_ctl(2)) of the descriptor, until
	// it is closed. For one that is known it changes the events.
	Poll(fd int, events uint32) error
}

// Name is a name in a directory that a repair has made.
type Name struct {
	Dir    int // -1 if it is not known
	Name   string
	Socket int     // what receives there; -1 for none
	ID     file.ID // of the socket's name; zero if it is not known
	Run    int     // the repair that handed the socket over
}

// lookup says which file has the name now; zero if none has.
func (n Name) lookup() (id file.ID, mode uint32) {
	if n.Dir < 0 {
		return file.ID{}, 0
	}
	return file.Named(n.Dir, n.Name)
}

// Config says what to watch, and how to repair it.
type Config struct {
	Owner Owner
	// Root is the container's root directory, which the Watcher closes.
	Root int
	// Init is a handle (pidfd) on its first process, of which the Watcher makes one of
	// its own; -1 for none.
	Init int
	// Command repairs. It is given Root, Init and a socket for what it hands over.
	Command []string
	// Private says that /dev is the container's own. Then only the container itself can
	// replace /dev/log, and the Watcher looks by the clock: it needs no inotify(7)
	// instance, of which a user has 128 by default.
	Private bool
	// Host says that it is a prepared host. Then the Watcher also watches the name of its
	// daemon's socket.
	Host bool
	// Confined says that the command runs in this process's sandbox.
	Confined func() bool
	// State is where another Watcher left off; nil for none.
	State *State
}

// Watcher watches one /dev/log.
type Watcher struct {
	owner     Owner
	container container
	command   rerun.Command

	watchAt time.Time // when to begin to watch; zero is since then
	watches watches
	mounts  mounts
	due     due
	clock   clock
	run     *run // the repair that runs now, or nil
	pause   pause
	yielded yielded
	report  report

	text     string // where /dev/log led when it was right, if it is a link
	seen     mark   // what was at /dev/log at the last look
	remounts remounts
}

// New returns a Watcher that begins to watch when Next says.
func New(c Config) *Watcher {
	w := &Watcher{
		owner:     c.Owner,
		container: container{root: os.NewFile(uintptr(c.Root), "root"), host: hostSocket{watched: c.Host}},
		command:   rerun.NewCommand(c.Command, c.Confined),
		clock:     clock{only: c.Private},
		watches:   watches{fd: -1}, mounts: mounts{fd: -1},
	}
	if c.Init >= 0 {
		if fd, err := unix.FcntlInt(uintptr(c.Init), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			w.container.init = os.NewFile(uintptr(fd), "init")
		}
	}
	now := time.Now()
	if c.State != nil {
		w.resume(c.State, now)
	}
	w.watchAt = now.Add(watchDelay)
	w.container.noteHost()
	w.watchMounts()
	w.inspect() // to know where /dev/log leads; what is wrong now is being repaired
	w.watchYielded(now)
	return w
}

// Root returns the handle of the container's root directory.
func (w *Watcher) Root() int { return int(w.container.root.Fd()) }

// Running reports whether a repair runs, which is a child that only this program
// can wait for.
func (w *Watcher) Running() bool { return w.run != nil }

// startWatching begins to watch, and looks at what has changed before.
func (w *Watcher) startWatching(now time.Time) {
	w.watchAt = time.Time{}
	w.container.noteHost() // the repair that started this has kept the socket by now
	if w.clock.only {
		w.clock.start(now)
	} else if err := w.watches.open(w.owner); err != nil {
		w.cannotWatch(err, now)
	}
	w.arm(now)
	if w.inspect() != ok {
		w.due.settle(now, false)
	}
	w.seen = w.container.devLog()
	w.watchYielded(now)
}

// Next returns when Step is to be called although nothing happened; the zero time is
// never.
func (w *Watcher) Next() (next time.Time) {
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if w.run != nil {
		earlier(w.run.WakeAt())
	} else {
		earlier(w.watchAt)
		earlier(w.due.at)
		earlier(w.clock.at)
		earlier(w.yielded.againAt)
	}
	if w.report.unsaid {
		earlier(w.report.saidAt.Add(sayEvery))
	}
	return next
}

// Event takes note of an event of the descriptor. It returns false for one that is
// not the Watcher's. Step is to be called after it.
func (w *Watcher) Event(fd int) bool {
	switch {
	case fd < 0:
		return false
	case fd == w.watches.fd:
		w.readEvents()
		return true
	case fd == w.mounts.fd:
		w.mounts.changed = true
		return true
	}
	return w.run != nil && slices.Contains(w.run.Files(), fd)
}

// Step does what is due.
func (w *Watcher) Step(now time.Time) {
	if w.run != nil {
		ended, problem := w.run.Poll(now)
		w.takeHandover()
		if ended {
			w.run.Close()
			w.afterRun(now, problem)
		}
	}
	if w.run == nil && !w.watchAt.IsZero() && !now.Before(w.watchAt) {
		w.startWatching(now)
	}
	if w.run == nil && (w.mounts.changed || w.watches.changed) {
		w.noteChange(now)
	}
	if w.run == nil && !w.due.at.IsZero() && !now.Before(w.due.at) {
		w.due.at = time.Time{}
		w.look(now)
	}
	if w.run == nil && !w.clock.at.IsZero() && !now.Before(w.clock.at) {
		w.lookByClock(now)
	}
	if w.run == nil && !w.yielded.againAt.IsZero() && !now.Before(w.yielded.againAt) {
		w.watchYielded(now)
		if w.inspect() == orphaned {
			w.look(now)
		}
	}
	if w.report.unsaid && !now.Before(w.report.saidAt.Add(sayEvery)) {
		w.sayRepaired(now)
	}
}

// noteChange has the watcher look once what changes has settled.
func (w *Watcher) noteChange(now time.Time) {
	mounted, named := w.mounts.changed, w.watches.named
	w.mounts.changed, w.watches.changed, w.watches.named = false, false, false
	// A daemon that has unlinked is about to bind. An undo unmounts, too; only a
	// daemon that starts changes the name.
	if (mounted || named) && w.remounts.early < maxEarly && w.mountedLink() != nil {
		w.remounts.early++
		w.arm(now)
		if named {
			w.remount(now)
		}
	}
	w.due.settle(now, mounted && w.container.devLog() != w.seen)
}

// lookByClock looks where no event tells of a change. What cannot be said or repaired is
// looked at when it changes.
func (w *Watcher) lookByClock(now time.Time) {
	if !w.clock.only && w.watches.fd >= 0 && w.watches.problem == "" {
		w.clock.at = time.Time{} // it is watched again
		return
	}
	w.clock.next(now)
	if is := w.inspect(); is == replaced && w.pause.failed == "" || w.container.devLog() != w.seen {
		w.clock.start(now)
		w.look(now)
	}
}

// look starts a repair if one is needed and the last one is long enough ago.
func (w *Watcher) look(now time.Time) {
	w.readEvents() // before looking: what changes from here on is an event
	w.watches.changed, w.watches.named = false, false
	w.arm(now)
	is := w.inspect()
	w.seen, w.due.last, w.remounts.early = w.container.devLog(), now, 0
	w.watchYielded(now)
	if start := w.yielded.wait(now, is == orphaned); now.Before(start) {
		w.yielded.againAt = start
		return
	}
	if is == ok {
		w.container.noteHost()
		w.pause.failed, w.pause.retries = "", 0
		w.due.slower()
		return
	}
	// What is orphaned is looked at by the clock: a repair that keeps failing is
	// not to be tried five times a minute for that.
	if now.Sub(w.pause.last) > quiet && is != orphaned {
		w.pause.delay, w.pause.retries = 0, 0
	}
	if start := w.pause.last.Add(w.pause.delay); now.Before(start) {
		w.due.at = start
		return
	}
	w.pause.runs++
	var err error
	if w.run, err = w.start(now); err != nil {
		w.afterRun(now, err)
	}
}

// afterRun draws the conclusions from a repair that has ended.
func (w *Watcher) afterRun(now time.Time, problem error) {
	run := w.run
	w.run = nil
	repaired := problem == nil && run.Changed()
	text := w.container.devLog().text
	w.pause.ended(now, problem == nil && !repaired)
	host := &w.container.host
	changed := w.container.hostChanged()
	advice := w.container.hostAfterRun(run.hostGone, repaired)
	host.lost = advice != "" || changed && problem != nil
	if problem == nil {
		w.pause.failed, w.pause.retries = "", 0
		w.text = text
		switch {
		case w.isBack():
			w.owner.Say(syslog.Notice, "the other daemon stopped listening; receiving again")
		case advice != "":
			w.owner.Say(syslog.Warning, advice)
		case repaired:
			w.countRepaired(now)
		}
	} else {
		w.dropRun(w.pause.runs)
		if text := problem.Error(); text != w.pause.failed {
			w.pause.failed = text
			w.owner.Say(syslog.Warning, "/dev/log cannot be repaired: "+text)
		}
		host.lost = false
		if w.pause.retries < maxRetries {
			w.pause.retries++
			w.due.at = now.Add(w.pause.delay)
			return
		}
	}
	host.lost = false
	other := mark{}
	if problem == nil && !repaired {
		other = w.otherDaemon()
	}
	w.watchYielded(now)
	w.arm(now)
	// A repair that fails takes back what it did: these events are its own. What
	// changes after this look is another event.
	w.readEvents()
	own := problem != nil && w.container.devLog() == run.before
	if w.watches.changed && !own {
		w.due.settle(now, true)
		return
	}
	if w.watches.changed {
		w.watches.changed, w.watches.named = false, false
		w.arm(now)
	}
	if other != (mark{}) {
		w.yieldTo(other)
		w.watchYielded(now)
		w.arm(now)
	}
}

// Stop waits for the end of the repair that runs, if one does, and kills it if that
// takes long: nothing is to be repaired any more once the owner ends.
func (w *Watcher) Stop() {
	file.Shut(&w.mounts.fd) // it would hold the container's file systems
	if w.run != nil {
		w.run.Finish(endTime)
		w.takeHandover() // to receive what is queued there, and remove what it has made
		w.run.Close()
		w.run = nil
	}
	if w.report.unsaid {
		w.sayRepaired(time.Now())
	}
	w.due.at = time.Time{}
}

// Close closes what a Watcher that has been stopped holds.
func (w *Watcher) Close() {
	file.Shut(&w.watches.fd)
	_ = w.container.root.Close()
	if w.container.init != nil {
		_ = w.container.init.Close()
	}
}
