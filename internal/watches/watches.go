// Package watches owns the inotify(7) instance of a process, and the watches on it. Everybody
// in the process uses the same instance, of which a user has 128 by default, and one file has
// one watch, however many of them watch it.
package watches

import (
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

const (
	// fileMask are the events when a file loses its name: unlink(2), and rename(2) over it,
	// change its link count.
	fileMask = unix.IN_ATTRIB | unix.IN_MOVE_SELF | unix.IN_DELETE_SELF | unix.IN_DONT_FOLLOW | options
	// dirMask are the events when a name in a directory gets or loses its file.
	dirMask = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE | unix.IN_MOVED_FROM |
		unix.IN_MOVE_SELF | unix.IN_DELETE_SELF | unix.IN_ONLYDIR | options
	// options: a watch is for one event, and a second one on the same file leaves the first its
	// events.
	options = unix.IN_ONESHOT | unix.IN_MASK_ADD
)

// Instance is an inotify(7) instance. It is open while it has open sets.
type Instance struct {
	fd   int
	poll func(fd int, ready func()) error
	sets []*Set
}

// NewInstance returns an instance. poll makes the process's loop call ready each time fd can be
// read, until fd is closed.
func NewInstance(poll func(fd int, ready func()) error) *Instance {
	return &Instance{fd: -1, poll: poll}
}

// Set is the watches of one watcher. Each reports one event. Then the watcher has to renew them,
// at its own pace: names that change all the time do not keep it busy.
type Set struct {
	instance     *Instance
	wake         func()
	open         bool
	list, before []watched
	// Changed says that an event came, and Named that one came of a name that was added as the
	// main one. The watcher resets them.
	Changed, Named bool
}

// watched is a watched file that has one of the names or, if it cannot be watched, the
// directory of the name. inotify(7) watches files, not paths, so it also sees changes in other
// mount namespaces.
type watched struct {
	wd   int
	name string // in the directory; empty if it is the file
	main bool
}

// NewSet returns a set. wake is called after events.
func (i *Instance) NewSet(wake func()) *Set { return &Set{instance: i, wake: wake} }

// Open opens the set if it is not open, and the instance if no other set has done so.
func (s *Set) Open() error {
	i := s.instance
	if s.open {
		return nil
	}
	if i.fd < 0 {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err != nil {
			return err
		}
		if err := i.poll(fd, i.read); err != nil {
			_ = unix.Close(fd)
			return err
		}
		i.fd = fd
	}
	s.open = true
	i.sets = append(i.sets, s)
	return nil
}

// IsOpen returns whether the set is open.
func (s *Set) IsOpen() bool { return s.open }

// Close removes the watches. The last set closes the instance.
func (s *Set) Close() {
	if !s.open {
		return
	}
	s.open = false
	i := s.instance
	i.sets = slices.DeleteFunc(i.sets, func(o *Set) bool { return o == s })
	if len(i.sets) == 0 {
		file.Shut(&i.fd)
		return
	}
	s.before, s.list = s.list, nil
	s.Trim()
}

// Renew begins to renew the watches: Add what is to be watched from now on, then call Trim.
func (s *Set) Renew() { s.before, s.list = s.list, nil }

// Add watches the file that has the name. Without such a file it watches the directory.
func (s *Set) Add(dir int, name string, main bool) error {
	at := file.Path(dir)
	err := s.watch(at+"/"+name, "", fileMask, main)
	if err == nil {
		return nil
	}
	// Other names in the directory cause events too, but there is no other way.
	if err := s.AddDir(dir, name, main); err != nil {
		return err
	}
	if errors.Is(err, unix.ENOENT) {
		_ = s.watch(at+"/"+name, "", fileMask, main) // it may exist by now
	}
	return nil
}

// AddDir watches the directory for changes of the name.
func (s *Set) AddDir(dir int, name string, main bool) error {
	return s.watch(file.Path(dir), name, dirMask, main)
}

func (s *Set) watch(path, name string, mask uint32, main bool) error {
	wd, err := unix.InotifyAddWatch(s.instance.fd, path, mask) // the same watch descriptor for the same file
	if err == nil {
		s.list = append(s.list, watched{wd, name, main})
	}
	return err
}

// Trim removes the watches of before Renew that were not added again, unless another set has
// them.
func (s *Set) Trim() {
	for _, old := range s.before {
		if !s.has(old.wd) && !slices.ContainsFunc(s.instance.sets, func(o *Set) bool { return o.has(old.wd) }) {
			_, _ = unix.InotifyRmWatch(s.instance.fd, uint32(old.wd)) // it may be gone with its file
		}
	}
}

func (s *Set) has(wd int) bool { return contains(s.list, wd) }

func contains(list []watched, wd int) bool {
	return slices.ContainsFunc(list, func(n watched) bool { return n.wd == wd })
}

// Read reads the events.
func (s *Set) Read() { s.instance.read() }

func (i *Instance) read() {
	var buf [4 << 10]byte
	for i.fd >= 0 {
		n, err := unix.Read(i.fd, buf[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		i.note(buf[:n])
	}
}

// note handles events in the format of inotify(7).
func (i *Instance) note(events []byte) {
	for len(events) >= unix.SizeofInotifyEvent {
		wd := int(int32(binary.NativeEndian.Uint32(events)))
		mask := binary.NativeEndian.Uint32(events[4:])
		size := min(binary.NativeEndian.Uint32(events[12:]), uint32(len(events)-unix.SizeofInotifyEvent))
		name := unix.ByteSliceToString(events[unix.SizeofInotifyEvent:][:size])
		events = events[unix.SizeofInotifyEvent+size:]
		if mask&unix.IN_IGNORED != 0 { // a watch ended; its last event came before
			continue
		}
		for _, s := range i.sets {
			s.note(wd, name, mask&unix.IN_Q_OVERFLOW != 0)
		}
	}
}

// note notes an event, if it is one of the set's. It may come from a watch of before the renewal.
func (s *Set) note(wd int, name string, all bool) {
	if !all && !s.has(wd) && !contains(s.before, wd) {
		return
	}
	n := watched{wd, name, true}
	s.Changed = true
	s.Named = s.Named || all || slices.Contains(s.list, n) || slices.Contains(s.before, n)
	s.wake()
}
