// Package watcher watches a container's /dev/log, and reruns the repair when it was replaced,
// for example by a syslog daemon of the host that started.
//
// A Watcher has no goroutine, no globals and no event loop of its own: its Owner's loop calls
// it. A process may have many.
package watcher

import (
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/pace"
	"devlog/internal/rerun"
	"devlog/internal/syslog"
	"devlog/internal/watches"
)

const (
	// watchDelay is how long after its start a Watcher begins to watch. Closing an inotify(7)
	// instance takes the kernel about 15 ms, longer than the rest of a short container's end,
	// so containers that end sooner do not get one.
	watchDelay = 250 * time.Millisecond
	// endTime is how long a repair may continue when the Watcher stops. It usually takes
	// milliseconds, but killing it could leave the host without its socket's name.
	endTime = 2 * time.Second
)

// Owner receives the container's messages, and has a Watcher.
type Owner interface {
	// Names returns the names that the repair made, and their sockets. The Watcher does not
	// store them.
	Names() []Name
	// Retire closes the socket: another daemon has its name.
	Retire(socket int)
	// TakeOver adds the sockets and names of a repair. run becomes their Name.Run.
	TakeOver(files []handover.File, run int) error
	// Repaired is called after each repair that was needed.
	Repaired()
	// Say logs a message.
	Say(severity syslog.Severity, text string)
	// Soon makes the loop call Step.
	Soon()
	// Poll makes the loop call Event for these events (epoll_ctl(2)) of the descriptor, until
	// it is closed. A second call changes the events.
	Poll(fd int, events uint32) error
}

// Name is a name that a repair made in a directory.
type Name struct {
	Dir    int // -1 if unknown
	Name   string
	Socket int     // the socket bound to this name; -1 for none
	ID     file.ID // the file that had the name when the socket was bound; zero if unknown
	Run    int     // the number of the repair that handed it over
}

// lookup returns the file that has the name now; zero for none.
func (n Name) lookup() (id file.ID, mode uint32) {
	if n.Dir < 0 {
		return file.ID{}, 0
	}
	return file.Named(n.Dir, n.Name)
}

// Config says what to watch, and how to repair it.
type Config struct {
	Owner Owner
	// Root is the container's root directory. The Watcher closes it.
	Root int
	// Init is a handle (pidfd) on the first process; -1 for none. The Watcher duplicates it.
	Init int
	// Command repairs. It gets Root, Init and a socket for the files that it hands over.
	Command []string
	// Private says that only the container uses its /dev. Then only the container can replace
	// /dev/log, and the Watcher polls.
	Private bool
	// Watches is the inotify(7) instance of all Watchers of the process.
	Watches *watches.Instance
	// Host says that this is a prepared host. Then the Watcher also watches the name of the
	// host daemon's socket.
	Host bool
	// Confined says that the command runs in this process's sandbox.
	Confined func() bool
	// State is the state of an earlier Watcher; nil for none.
	State *State
}

// Watcher watches one /dev/log.
type Watcher struct {
	owner     Owner
	container container
	command   rerun.Command

	watches watchState
	mounts  mounts
	due     pace.Checks
	clock   pace.Clock
	run     *run // the running repair, or nil
	pause   pause
	budget  pace.Budget
	yielded yielded
	report  report

	text     string // what /dev/log pointed to when it was correct, if it is a link
	seen     mark   // what was at /dev/log at the last check
	remounts remounts
}

// New returns a Watcher. It begins to watch at the time that Next returns.
func New(c Config) *Watcher {
	w := &Watcher{
		owner:     c.Owner,
		container: container{root: os.NewFile(uintptr(c.Root), "root"), host: hostSocket{watched: c.Host}},
		command:   rerun.NewCommand(c.Command, c.Confined),
		watches:   watchState{Set: c.Watches.NewSet(c.Owner.Soon), off: c.Private}, mounts: mounts{fd: -1},
		pause: pause{turn: turn{lock: -1}},
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
	w.watches.begin = now.Add(watchDelay)
	w.container.noteHost()
	w.watchMounts()
	w.inspect() // to learn where /dev/log points; if it is wrong, a repair is running already
	w.watchYielded(now)
	return w
}

// Root returns the handle on the container's root directory.
func (w *Watcher) Root() int { return int(w.container.root.Fd()) }

// Running returns whether a repair runs. It is a child of this process.
func (w *Watcher) Running() bool { return w.run != nil }

// startWatching begins to watch, and checks for earlier changes.
func (w *Watcher) startWatching(now time.Time) {
	w.watches.begin = time.Time{}
	w.container.noteHost() // the repair that started this process has moved the socket by now
	if w.watches.off {
		w.clock.Start(now)
	}
	w.arm(now)
	if w.inspect() != ok {
		w.due.Schedule(now, false)
	}
	w.seen = w.container.devLog()
	w.watchYielded(now)
}

// Next returns when to call Step if no event comes before; the zero time for never.
func (w *Watcher) Next() (next time.Time) {
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if w.run != nil {
		earlier(w.run.WakeAt())
	} else {
		earlier(w.watches.begin)
		earlier(w.due.At)
		earlier(w.clock.At)
		earlier(w.yielded.againAt)
	}
	if w.report.unsaid {
		earlier(w.report.saidAt.Add(sayEvery))
	}
	return next
}

// Event handles an event of the descriptor. It returns false if the descriptor is not the
// Watcher's. Call Step after it.
func (w *Watcher) Event(fd int) bool {
	switch {
	case fd < 0:
		return false
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
			w.budget.Repaired(now, w.run.Cost())
			w.run.Close()
			w.afterRun(now, problem)
		}
	}
	if w.run == nil && !w.watches.begin.IsZero() && !now.Before(w.watches.begin) {
		w.startWatching(now)
	}
	if w.run == nil && (w.mounts.changed || w.watches.Changed) {
		w.noteChange(now)
	}
	if w.run == nil && !w.due.At.IsZero() && !now.Before(w.due.At) {
		w.due.At = time.Time{}
		w.look(now)
	}
	if w.run == nil && !w.clock.At.IsZero() && !now.Before(w.clock.At) {
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

// noteChange schedules a check for after the changes have settled.
func (w *Watcher) noteChange(now time.Time) {
	mounted, named := w.mounts.changed, w.watches.Named
	w.watches.replaced = w.watches.replaced || named
	w.mounts.changed, w.watches.Changed, w.watches.Named = false, false, false
	// A daemon that has unlinked /dev/log is about to bind. An undo unmounts too, but only a
	// daemon that starts changes the name.
	if (mounted || named) && w.due.Prompt(now) && w.remounts.early < maxEarly && w.mountedLink() != nil {
		w.remounts.early++
		w.arm(now)
		if named {
			w.remount(now)
		}
	}
	w.due.Schedule(now, mounted && w.container.devLog() != w.seen)
}

// lookByClock checks /dev/log when no events are available. A state that is unknown or cannot
// be repaired is checked again only when it changes.
func (w *Watcher) lookByClock(now time.Time) {
	if w.watches.IsOpen() && w.watches.problem == "" {
		w.clock.At = time.Time{} // events are available again
		return
	}
	w.clock.Next(now)
	if is := w.inspect(); is == replaced && w.pause.failed == "" || w.container.devLog() != w.seen {
		w.clock.Start(now)
		w.look(now)
	}
}

// look starts a repair if one is needed and the last one was long enough ago.
func (w *Watcher) look(now time.Time) {
	if start := w.budget.Next(); now.Before(start) {
		w.due.At = start
		return
	}
	began := pace.ThreadTime()
	defer func() { w.budget.Spend(now, pace.ThreadTime()-began) }()
	w.readEvents() // first: changes from here on cause new events
	was := w.seen
	w.seen = w.container.devLog()
	replaced := w.watches.replaced || w.seen != was
	if replaced {
		w.due.Replaced(now)
	}
	w.watches.Changed, w.watches.Named, w.watches.replaced = false, false, false
	if replaced && !w.due.Prompt(now) { // replaced too often: watch it again once it has stayed unchanged
		w.due.Last = now
		w.due.Schedule(now, false)
		return
	}
	w.arm(now)
	is := w.inspect()
	w.seen, w.due.Last, w.remounts.early = w.container.devLog(), now, 0
	w.watchYielded(now)
	if start := w.yielded.wait(now, is == orphaned); now.Before(start) {
		w.yielded.againAt = start
		return
	}
	if is == ok {
		w.container.noteHost()
		w.pause.failed, w.pause.Retries = "", 0
		w.due.Slower()
		return
	}
	// An orphaned /dev/log is checked on a timer. Do not rerun a failing repair five times a
	// minute for it.
	if is != orphaned {
		w.pause.Calm(now)
	}
	if start := w.pause.Next(); now.Before(start) {
		w.due.At = start
		return
	}
	if w.remount(now) {
		return
	}
	if w.due.Prompt(now) && !w.takeTurn(replaced) {
		w.due.At = now.Add(pace.Between(firstTurn, lastTurn))
		return
	}
	w.pause.runs++
	var err error
	if w.run, err = w.start(now); err != nil {
		w.afterRun(now, err)
	}
}

// afterRun handles the end of a repair.
func (w *Watcher) afterRun(now time.Time, problem error) {
	run := w.run
	w.run = nil
	w.pause.turn.end()
	repaired := problem == nil && run.Changed()
	text := w.container.devLog().text
	w.pause.Ended(now, problem == nil && !repaired)
	host := &w.container.host
	changed := w.container.hostChanged()
	advice := w.container.hostAfterRun(run.hostGone, repaired)
	host.lost = advice != "" || changed && problem != nil
	if problem == nil {
		w.pause.failed, w.pause.Retries = "", 0
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
		if w.pause.Retry() {
			w.due.At = now.Add(w.pause.Delay)
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
	w.readEvents()
	if problem != nil && w.watches.Changed && w.container.devLog() == run.before {
		// A failed repair undoes its changes: these events are its own. But each watch
		// reports one event only, so check once more after they are renewed.
		w.watches.Changed, w.watches.Named = false, false
		w.arm(now)
		w.watches.Changed = w.container.devLog() != run.before
	}
	if w.watches.Changed {
		w.due.Schedule(now, true)
		return
	}
	if other != (mark{}) {
		w.yieldTo(other)
		w.watchYielded(now)
		w.arm(now)
	}
}

// Stop waits for the end of a running repair, and kills it after endTime: nothing is repaired
// after the Owner's end.
func (w *Watcher) Stop() {
	file.Shut(&w.mounts.fd) // an open file keeps the container's file systems busy
	if w.run != nil {
		w.run.Finish(endTime)
		w.takeHandover() // to read queued messages, and to remove its names
		w.run.Close()
		w.run = nil
		w.pause.turn.end()
	}
	if w.report.unsaid {
		w.sayRepaired(time.Now())
	}
	w.due.At = time.Time{}
}

// Close closes the descriptors of a stopped Watcher.
func (w *Watcher) Close() {
	w.watches.Close()
	_ = w.container.root.Close()
	if w.container.init != nil {
		_ = w.container.init.Close()
	}
}
