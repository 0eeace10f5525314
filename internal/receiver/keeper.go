package receiver

import (
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/syslog"
)

// The repair may be undone by anybody, such as a syslog daemon of the host that
// starts and unlinks /dev/log. The keeper notices it and has devlog-hook repair
// it again.

const (
	// watchDelay is how long after its start a keeper begins to watch. What ends
	// sooner is spared that: to give up an inotify(7) instance takes the kernel
	// longer than all else at a short container's end, some 15 ms.
	watchDelay = 250 * time.Millisecond
	// settleFixed and settleRandom are how long what changes is left to settle.
	// Every container's receiver sees the change of a shared /dev: the first
	// one to repair it spares the others the work.
	settleFixed  = 20 * time.Millisecond
	settleRandom = 30 * time.Millisecond
	// firstPace and lastPace are how much longer changes are left to settle that
	// keep coming and need no repair. Names in a shared /dev are anybody's to make:
	// a hundred receivers that look every three seconds take half a percent of a
	// processor.
	firstPace = 25 * time.Millisecond
	lastPace  = 3 * time.Second
	// quietPace is the time without a look after which the next one is prompt again.
	quietPace = 30 * time.Second
	// maxEarly is how often between two looks the watches are renewed at once.
	maxEarly = 3
	// firstDelay and lastDelay are the shortest and the longest time between
	// two repairs of those that follow each other.
	firstDelay = 100 * time.Millisecond
	lastDelay  = 10 * time.Second
	// idleDelay is the longest time after repairs that found nothing to do:
	// where many share a /dev, mostly another's was faster.
	idleDelay = time.Second
	// quiet is the time after which repairs do not follow each other.
	quiet = time.Minute
	// maxRetries is how often a failed repair is tried again by the clock.
	maxRetries = 5
	// sayEvery is the time between two messages about repairs.
	sayEvery = time.Minute
	// endTime is how long a repair may go on when the receiver ends: killed, it
	// could leave the host without its socket's name. It takes milliseconds.
	endTime = 2 * time.Second
	// forget is the time without a repair after which they are counted anew.
	forget = time.Hour
)

// keeper keeps /dev/log of a container repaired.
type keeper struct {
	root    *os.File
	init    *os.File // nil if there is none
	command []string
	// confined says that the command runs in this receiver's sandbox.
	confined func() bool
	slash    fileID // this process's own root directory, in which the command is
	epoll    int

	watchAt                time.Time // when to begin to watch; zero is since then
	inotify                int       // -1 if the kernel gives none
	mounts                 int       // the container's table of mounts; -1 if it cannot be watched
	mounted                bool      // there was a change of it
	changed                bool      // there was an event
	named                  bool      // there was one of /dev/log itself
	watched, watchedBefore []watched
	problem                string // why something is not watched, as was said

	lookAt   time.Time     // when to look whether a repair is needed; zero is never
	lookedAt time.Time     // the last look
	seen     mark          // what was at /dev/log then
	pace     time.Duration // added to the time until the next look
	early    int           // how often the watches were renewed since
	run      *repair       // the one that runs now, or nil
	runs     int

	last    time.Time     // end of the last repair
	delay   time.Duration // from then to the next one
	retries int
	failed  string // why no repair is possible, as was said

	text  string // where /dev/log led when it was right, if it is a link
	aside bool   // another daemon has taken a socket's name, or /dev/log
	// taken is the other daemon's socket, if that is at /dev/log itself.
	taken fileID
	// againAt is when to look whether it still has, whatever happens or not;
	// zero is never. vacantAt is since when it has not.
	againAt, vacantAt time.Time

	remountedAt time.Time // the last mount without a repair

	repaired   uint64
	since      time.Time // the first of these
	repairedAt time.Time // the last of these
	unsaid     bool      // there were some since the last message
	saidAt     time.Time
}

// startKeeper begins to keep the repair.
func (r *receiver) startKeeper(root int, command []string) {
	k := &keeper{root: os.NewFile(uintptr(root), "root"), command: command, slash: slash(), epoll: r.epoll, inotify: -1, mounts: -1,
		confined: func() bool { return r.sandbox != nil && r.sandbox.landlock }}
	if r.init >= 0 {
		k.init = os.NewFile(uintptr(r.init), "init")
	}
	r.keeper = k
	k.resume(r.resumed)
	now := time.Now()
	k.watchAt = now.Add(watchDelay)
	r.watchMounts()
	r.inspect() // to know where /dev/log leads; what is wrong now is being repaired
	k.watchAside(now)
}

// startWatching begins to watch, and looks at what has changed before.
func (r *receiver) startWatching(now time.Time) {
	k := r.keeper
	k.watchAt = time.Time{}
	var err error
	if k.inotify, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err == nil {
		err = r.watch(k.inotify)
	}
	if err != nil {
		r.cannotWatch(err)
	}
	r.arm()
	if r.inspect() != right {
		k.settle(now, false)
	}
	k.seen = k.devLog()
	k.watchAside(now)
}

// next is when stepKeeper should be called although nothing happened; the zero
// time is never.
func (k *keeper) next() (next time.Time) {
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if k.run != nil {
		earlier(k.run.wakeAt())
	} else {
		earlier(k.watchAt)
		earlier(k.lookAt)
		earlier(k.againAt)
	}
	if k.unsaid {
		earlier(k.saidAt.Add(sayEvery))
	}
	return next
}

// isEvent reports whether the descriptor is one of the keeper's.
func (k *keeper) isEvent(fd int) bool {
	if fd == k.inotify {
		k.readEvents()
		return true
	}
	if fd == k.mounts {
		k.mounted = true
		return true
	}
	return k.run != nil && (fd == k.run.pidfd || fd == k.run.stderr || fd == k.run.pair)
}

// stepKeeper does what is due.
func (r *receiver) stepKeeper(now time.Time) {
	k := r.keeper
	if k.run != nil {
		r.takeHandover()
		if ended, problem := k.run.poll(now); ended {
			r.afterRun(now, problem)
		}
	}
	if k.run == nil && !k.watchAt.IsZero() && !now.Before(k.watchAt) {
		r.startWatching(now)
	}
	if (k.mounted || k.changed) && k.run == nil {
		r.noteChange(now)
	}
	if k.run == nil && !k.lookAt.IsZero() && !now.Before(k.lookAt) {
		k.lookAt = time.Time{}
		r.look(now)
	}
	if k.run == nil && !k.againAt.IsZero() && !now.Before(k.againAt) {
		k.watchAside(now)
		if r.inspect() == vacant {
			r.look(now)
		}
	}
	if k.unsaid && !now.Before(k.saidAt.Add(sayEvery)) {
		r.sayRepaired(now)
	}
}

// noteChange has the keeper look once what changes has settled.
func (r *receiver) noteChange(now time.Time) {
	k := r.keeper
	mounted, named := k.mounted, k.named
	k.mounted, k.changed, k.named = false, false, false
	// A daemon that has unlinked is about to bind. An undo unmounts, too; only a
	// daemon that starts changes the name.
	if (mounted || named) && k.early < maxEarly && r.mountedLink() != nil {
		k.early++
		r.arm()
		if named {
			r.remount(now)
		}
	}
	k.settle(now, mounted && k.devLog() != k.seen)
}

// settle has the keeper look once what changes has settled: soon, or the later the
// more often there was no reason to. Until then each watch wakes it up once at most.
func (k *keeper) settle(now time.Time, soon bool) {
	if now.Sub(k.lookedAt) > quietPace {
		k.pace = 0
	}
	at := now.Add(settleFixed + rand.N(settleRandom))
	if !soon && k.pace > 0 {
		at = at.Add(k.pace/2 + rand.N(k.pace))
	}
	if k.lookAt.IsZero() || soon && at.Before(k.lookAt) {
		k.lookAt = at
	}
}

// look starts a repair if one is needed and the last one is long enough ago.
func (r *receiver) look(now time.Time) {
	k := r.keeper
	k.readEvents() // before looking: what changes from here on is an event
	k.changed, k.named = false, false
	r.arm()
	is := r.inspect()
	k.seen, k.lookedAt, k.early = k.devLog(), now, 0
	k.watchAside(now)
	if is != vacant {
		k.vacantAt = time.Time{}
	} else if k.vacantAt.IsZero() {
		k.vacantAt = now
	}
	if start := k.vacantAt.Add(asideWait); is == vacant && now.Before(start) {
		k.againAt = start
		return
	}
	if is == right {
		k.failed, k.retries = "", 0
		k.pace = min(max(2*k.pace, firstPace), lastPace)
		return
	}
	// What is vacant is looked at by the clock: a repair that keeps failing is
	// not to be tried five times a minute for that.
	if now.Sub(k.last) > quiet && is != vacant {
		k.delay, k.retries = 0, 0
	}
	if start := k.last.Add(k.delay); now.Before(start) {
		k.lookAt = start
		return
	}
	k.runs++
	var err error
	if k.run, err = k.start(now); err != nil {
		r.afterRun(now, err)
	}
}

// afterRun draws the conclusions from a repair that has ended.
func (r *receiver) afterRun(now time.Time, problem error) {
	k := r.keeper
	run := k.run
	k.run = nil
	text := k.devLog().text
	k.last = now
	limit := lastDelay
	if problem == nil && !run.repaired() {
		limit = max(idleDelay, k.delay)
	}
	k.delay = min(max(2*k.delay, firstDelay), limit)
	if problem == nil {
		k.failed, k.retries = "", 0
		k.text = text
		if r.isBack() {
			r.say(syslog.Notice, "the other daemon listens no more; this receiver receives again")
		} else if run.repaired() {
			r.countRepaired(now)
		}
	} else {
		r.dropRun(k.runs)
		if text := problem.Error(); text != k.failed {
			k.failed = text
			r.say(syslog.Warning, "/dev/log cannot be repaired: "+text)
		}
		if k.retries < maxRetries {
			k.retries++
			k.lookAt = now.Add(k.delay)
			return
		}
	}
	other := mark{}
	if problem == nil && !run.repaired() {
		other = r.otherDaemons()
	}
	k.watchAside(now)
	r.arm()
	// A repair that fails takes back what it did: these events are its own. What
	// changes after this look is another event.
	k.readEvents()
	own := problem != nil && k.devLog() == run.before
	if k.changed && !own {
		k.settle(now, true)
		return
	}
	if k.changed {
		k.changed, k.named = false, false
		r.arm()
	}
	if other != (mark{}) {
		r.standBy(other)
		k.watchAside(now)
		r.arm()
	}
}

// countRepaired counts a repair and says so, at most once a minute.
func (r *receiver) countRepaired(now time.Time) {
	k := r.keeper
	if now.Sub(k.repairedAt) > forget {
		k.repaired = 0
	}
	k.repairedAt = now
	if k.repaired == 0 {
		k.since = now
	}
	k.repaired++
	r.repairs++
	k.unsaid = true
	if k.saidAt.IsZero() || now.Sub(k.saidAt) >= sayEvery {
		r.sayRepaired(now)
	}
}

func (r *receiver) sayRepaired(now time.Time) {
	k := r.keeper
	k.unsaid, k.saidAt = false, now
	text := "/dev/log was replaced; repaired"
	if k.repaired > 1 {
		text += fmt.Sprintf(" (%d times since %s)", k.repaired, k.since.Format("15:04"))
	}
	r.say(syslog.Notice, text)
}

// stopKeeper waits for the end of the repair that runs, if one does, and kills
// it if that takes long: it must not be made again by a receiver that ends.
func (r *receiver) stopKeeper() {
	k := r.keeper
	shut(&k.mounts) // it would hold the container's file systems
	if k.run != nil {
		k.run.finish(endTime)
		r.takeHandover() // to receive what is queued there, and remove what it has made
		k.run.close()
		k.run = nil
	}
	if k.unsaid {
		r.sayRepaired(time.Now())
	}
	k.lookAt = time.Time{}
}
