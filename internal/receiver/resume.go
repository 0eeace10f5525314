package receiver

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/output"
	"devlog/internal/router"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
	"devlog/internal/watcher"
)

// resumeFrom has the receiver go on where the program before this one was.
func (r *receiver) resumeFrom(s *snapshot) {
	_ = s.eachDescriptor(func(fd *int) error {
		if _, err := unix.FcntlInt(uintptr(*fd), unix.F_SETFD, unix.FD_CLOEXEC); *fd >= 0 && err != nil {
			*fd = -1 // it is not open
		}
		return nil
	})
	for _, k := range s.sockets {
		sock, err := inheritSocket(k.fd, k.path) // the kernel knows its type
		if err != nil && k.fd >= 0 {
			r.router.Report(err)
			_ = unix.Close(k.fd)
			k.fd = -1
		}
		k.socket = sock
	}
	s.dropMissing()
	r.resumed = s
	if s.base.started.IsZero() {
		s.base.started = time.Now()
	}
	r.counters = s.base.counters
	if s.unreadable != nil {
		r.fresh++
	}
	if r.store == nil {
		r.upgrades++
		r.resumeStore(s.store)
	}
	if r.limits.unsaid = s.base.unsaid; r.limits.unsaid > 0 {
		r.limits.sayAt = time.Now().Add(dropEvery)
	}
}

// takeOver returns what was passed to the program before this one.
func (r *receiver) takeOver() taken {
	s := r.resumed
	r.init, r.awaits = s.base.init, s.awaits
	t := taken{root: s.base.root}
	for _, p := range s.places {
		t.cleanups = append(t.cleanups, &cleanup{dir: p.fd, name: p.name, flags: p.flags, id: p.id})
	}
	now := time.Now()
	for _, k := range s.sockets {
		sock := k.socket
		sock.path, sock.id, sock.run = k.path, k.id, k.run
		if k.place >= 0 {
			sock.at = t.cleanups[k.place]
		}
		if k.debt > 0 {
			sock.bucket.full = now.Add(k.debt)
		}
		t.sockets = append(t.sockets, sock)
	}
	return t
}

// resumeConnections has the connections and the kernel's log read on.
func (r *receiver) resumeConnections() error {
	if len(r.resumed.conns) > 0 && r.streams == nil {
		r.streams = newStreams() // their socket was retired
	}
	for _, p := range r.resumed.conns {
		c := &connection{fd: p.fd, frame: decodeFramer(p.framing, p.skip), sender: p.sender}
		if p.from >= 0 { // in the same order as they were handed over
			c.from = r.sockets[p.from]
		}
		r.streams.open[c.fd] = c
		r.streams.push(c)
		r.streams.keep(c, p.rest)
		if err := r.watch(c.fd); err != nil {
			return err
		}
	}
	if k := r.resumed.kernel; k != nil {
		if err := r.addKernel(k.fd); err != nil {
			return err
		}
		r.kernel.sequence, r.kernel.any = k.sequence, k.any
	}
	return nil
}

// listensAt reports whether there is a socket that was bound to the path.
func (r *receiver) listensAt(path string) bool {
	return slices.ContainsFunc(r.sockets, func(s *socket) bool { return s.path == path })
}

// resume has an output go on where the one with its name was.
func (r *receiver) resume(t *router.MeteredOutput) {
	if r.resumed == nil {
		return
	}
	list := &r.resumed.outputs
	i := slices.IndexFunc(*list, func(o *outputState) bool { return o.path == t.Name() && o.kind == int(t.Kind) })
	if i < 0 {
		return
	}
	o := (*list)[i]
	*list = slices.Delete(*list, i, i+1)
	if l, ok := t.Output.(output.Lasting); ok {
		t.Taken, t.Bytes, t.Repeated, t.High = o.taken, o.bytes, o.repeated, o.high
		l.Resume(o.State, time.Now())
	} else if o.FD >= 0 {
		_ = unix.Close(o.FD)
	}
}

// resumeOthers opens the outputs that no rule leads to any more, but for which
// there are messages.
func (r *receiver) resumeOthers() {
	if r.resumed == nil {
		return
	}
	for _, o := range slices.Clone(r.resumed.outputs) {
		if len(o.Pending) == 0 {
			if o.FD >= 0 {
				_ = unix.Close(o.FD)
			}
			continue
		}
		r.router.Keep(syslogconf.Kind(o.kind), o.path)
	}
}

// sayResumed says why another program goes on.
func (r *receiver) sayResumed() {
	if why := r.resumed.unreadable; why != nil {
		r.sayFresh(why)
	}
	if r.store != nil && r.store.restarted {
		r.sayRestarted()
	} else {
		r.say(syslog.Notice, "upgraded to devlogd "+Version+" from "+cmp.Or(r.resumed.base.version, "another version"))
	}
	r.resumed, r.router.Tolerant = nil, false // with all that was pending
}

// toWatcher returns what the watcher before this one knew.
func (s *keeperState) toWatcher(now time.Time) *watcher.State {
	return &watcher.State{
		Text: s.text, Failed: s.failed, Problem: s.problem, Yielded: s.aside, Unsaid: s.unsaid,
		Runs: s.runs, Retries: s.retries, Delay: s.delay, Repaired: s.repaired,
		Last: offWall(s.last, now), Since: offWall(s.since, now), At: offWall(s.at, now),
		SaidAt: offWall(s.saidAt, now), Orphaned: offWall(s.vacantAt, now),
	}
}

// ofWatcher returns what the watcher leaves behind.
func ofWatcher(s watcher.State, now time.Time) *keeperState {
	return &keeperState{
		text: s.Text, failed: s.Failed, problem: s.Problem, aside: s.Yielded, unsaid: s.Unsaid,
		runs: s.Runs, retries: s.Retries, delay: s.Delay, repaired: s.Repaired,
		last: onWall(s.Last, now), since: onWall(s.Since, now), at: onWall(s.At, now),
		saidAt: onWall(s.SaidAt, now), vacantAt: onWall(s.Orphaned, now),
	}
}

// onWall is a time in the past as the wall clock, which may have been set since,
// would have shown it: that one only can be handed over.
func onWall(t, now time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return now.Round(0).Add(-now.Sub(t))
}

// offWall is a time that onWall has made, and from here on does not depend on
// the wall clock. It is not in the future, even if that has been set back
// meanwhile: nothing would be repaired until then.
func offWall(t, now time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return now.Add(-max(0, now.Round(0).Sub(t)))
}

// sayEnds says that this program, which is to go on where another one was, ends
// because of the error. What waited is said by the outputs, if there are some.
func (r *receiver) sayEnds(s *snapshot, err error) {
	pending := 0
	for _, out := range s.outputs {
		pending += bytes.Count(out.Pending, []byte{'\n'})
	}
	text := "ends, as it cannot go on where the program before it was: " + err.Error()
	if pending > 0 && len(r.router.Routes) == 0 {
		text += "; " + strconv.Itoa(pending) + " messages lost that waited to be written"
	}
	r.tellKernel(text)
}
