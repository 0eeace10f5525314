package receiver

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/syslog"
)

// restart is the snapshot of a receiver that was killed, with the descriptors
// that systemd has given back.
func (s *store) restart() (*snapshot, error) {
	given := map[string]int{}
	var all []int
	for _, f := range s.files {
		given[f.Name] = f.FD
		s.stored[f.Name] = true
		if f.FD != s.fd {
			all = append(all, f.FD)
		}
	}
	names, _, state, err := s.described()
	if err == nil {
		err = s.unreadable
	}
	var snap *snapshot
	if err == nil {
		snap, err = parseSnapshot(state)
	}
	if err != nil {
		s.files = nil
		return freshSnapshot(all, err), nil
	}
	// Two handles of one directory are one file to systemd.
	err = snap.eachDescriptor(func(at *int) error {
		from, index := -1, *at
		if *at = -1; index >= 0 && index < len(names) {
			if fd, ok := given[names[index]]; ok {
				from = fd
			}
		}
		if from < 0 {
			return nil
		}
		fd, err := unix.FcntlInt(uintptr(from), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("use descriptor %d of the receiver before: %w", from, err)
		}
		*at = fd
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, f := range s.files {
		if f.FD != s.fd {
			_ = unix.Close(f.FD)
		}
	}
	s.files = nil
	snap.dropMissing()
	snap.base.counters, snap.base.unsaid = counters{}, 0 // they are those of a process
	return snap, nil
}

// dropMissing leaves out what there is no descriptor of: it was given up, or had
// not been given to systemd yet. A keeper looks after what that leaves undone.
func (s *snapshot) dropMissing() {
	var places, sockets []int // where each is then, -1 for those that are left out
	places, s.places = compact(s.places, func(p *placeState) bool { return p.fd >= 0 })
	sockets, s.sockets = compact(s.sockets, func(k *socketState) bool { return k.fd >= 0 })
	_, s.conns = compact(s.conns, func(c *connState) bool { return c.fd >= 0 })
	for _, k := range s.sockets {
		k.place = at(places, k.place)
	}
	for _, c := range s.conns {
		c.from = at(sockets, c.from)
	}
	if s.kernel != nil && s.kernel.fd < 0 {
		s.kernel = nil
	}
}

// compact returns those of the list that are kept, and for each of the list where it
// is among these, or -1.
func compact[T any](list []T, keep func(T) bool) (index []int, kept []T) {
	for _, v := range list {
		if !keep(v) {
			index = append(index, -1)
			continue
		}
		index = append(index, len(kept))
		kept = append(kept, v)
	}
	return index, kept
}

// at is the number at i, or -1 if there is none.
func at(list []int, i int) int {
	if i < 0 || i >= len(list) {
		return -1
	}
	return list[i]
}

// eachDescriptor calls f for all descriptors that the state names, also those
// that are -1.
func (s *snapshot) eachDescriptor(f func(fd *int) error) error {
	list := []*int{&s.base.init, &s.base.root, &s.store}
	for _, p := range s.places {
		list = append(list, &p.fd)
	}
	for _, p := range s.sockets {
		list = append(list, &p.fd)
	}
	for _, p := range s.conns {
		list = append(list, &p.fd)
	}
	if s.kernel != nil {
		list = append(list, &s.kernel.fd)
	}
	if s.sandbox != nil {
		list = append(list, &s.sandbox.mark)
	}
	for _, p := range s.outputs {
		list = append(list, &p.FD)
	}
	for _, fd := range list {
		if err := f(fd); err != nil {
			return err
		}
	}
	return nil
}

// resumeStore has the receiver use the store of the program before this one,
// which has left it in the same process.
func (r *receiver) resumeStore(fd int) {
	if fd < 0 {
		return
	}
	s, err := reuseStore(fd)
	if err != nil {
		r.router.Report(fmt.Errorf("a receiver that is killed now would not go on: %w", err))
		return
	}
	names, was, _, err := s.described()
	for _, name := range names {
		s.stored[name] = err == nil
	}
	r.store, r.was = s, slices.DeleteFunc(parseIdentities(was), func(p process) bool { return p == r.self })
}

// forgetWas forgets the processes that no record names: there is one more with
// each restart. Without any record the first one is as good as any.
func (r *receiver) forgetWas() {
	noted := slices.DeleteFunc(slices.Clone(r.was), func(p process) bool {
		return !slices.ContainsFunc(r.cleanups, func(at *cleanup) bool { return p.notedIn(at.dir) })
	})
	if len(noted) > 0 {
		r.was = noted
	} else {
		r.was = r.was[:min(1, len(r.was))]
	}
}

// replay writes what a receiver that was killed had received and not written. It
// is the first to write and to receive: either would forget that.
func (r *receiver) replay() {
	s := r.store
	if s == nil || !s.restarted {
		return
	}
	r.forgetWas()
	n := 0
	if r.batch != nil {
		n = r.batch.unwritten()
	}
	s.lost = s.head.pending
	if s.head.replays++; s.head.replays > maxReplays {
		s.lost += uint64(n)
		n = 0
	}
	s.again = n
	now := time.Now()
	r.router.At(now)
	for i := range n {
		raw, cut := r.batch.message(i)
		r.handle(raw, cut, r.batch.sender(i))
	}
	r.flush(now)
}

// sayRestarted says what the kill of the receiver before this one has cost.
func (r *receiver) sayRestarted() {
	s := r.store
	text, severity := "was killed, and started anew by systemd", syslog.Notice
	if s.head.restarts > 1 {
		text += " (" + strconv.FormatUint(s.head.restarts, 10) + " times by now)"
	}
	if s.again > 0 {
		text += "; the " + strconv.Itoa(s.again) + " messages before this may be there twice"
	}
	if s.lost > 0 {
		severity = syslog.Warning
		text += "; " + strconv.FormatUint(s.lost, 10) + " messages lost (killed before they could be written)"
	}
	r.say(severity, text)
}
