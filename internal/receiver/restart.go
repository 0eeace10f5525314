package receiver

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/daemon"
	"devlog/internal/syslog"
)

// restart is the snapshot of a receiver that was killed, with the descriptors
// that systemd has given back.
func (s *store) restart() (*snapshot, error) {
	names, _, state, err := s.described()
	if err != nil {
		return nil, err
	}
	snap, err := parseSnapshot(state)
	if err != nil {
		return nil, err
	}
	given := map[string]int{}
	for _, f := range s.files {
		given[f.Name] = f.FD
		s.stored[f.Name] = true
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
	snap.base.counters, snap.base.unsaid = counters{started: time.Now()}, 0
	return snap, nil
}

// dropMissing leaves out what there is no descriptor of: it was given up, or had
// not been given to systemd yet. A keeper looks after what that leaves undone.
func (s *snapshot) dropMissing() {
	var places []*placeState
	index := map[int]int{}
	for i, p := range s.places {
		if p.fd >= 0 {
			index[i] = len(places)
			places = append(places, p)
		}
	}
	s.places = places
	s.sockets = slices.DeleteFunc(s.sockets, func(k *socketState) bool { return k.fd < 0 })
	for _, k := range s.sockets {
		if at, ok := index[k.place]; ok {
			k.place = at
		} else {
			k.place = -1
		}
	}
}

// eachDescriptor calls f for all descriptors that the state names.
func (s *snapshot) eachDescriptor(f func(fd *int) error) error {
	list := []*int{&s.base.init, &s.base.root}
	for _, p := range s.places {
		list = append(list, &p.fd)
	}
	for _, p := range s.sockets {
		list = append(list, &p.fd)
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
	s, err := mapStore(fd)
	if err != nil { // of a version that laid it out in another way
		_ = daemon.Notify("FDSTOREREMOVE=1\nFDNAME=" + storeName)
		_ = unix.Close(fd)
		if s, err = newStore(); err != nil {
			r.problems = append(r.problems, fmt.Errorf("a receiver that is killed now would not go on: %w", err))
			return
		}
	} else {
		s.stored[storeName] = true
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
		return !slices.ContainsFunc(r.places, func(at *place) bool { return p.notedIn(at.dir) })
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
	r.lines.at(now)
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
