package receiver

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"devlog/internal/handover"
	"devlog/internal/memfd"
	"devlog/internal/router"
)

// A receiver that is a service of systemd's can be killed and lose nothing. What
// it receives into and what it would need to go on is in memory that systemd has
// as well (memfd_create(2), sd_pid_notify_with_fds(3)), and so are its sockets
// and handles. The kernel notes each message there as it takes it out of the
// socket's queue; it counts as unwritten until the outputs have it. The program
// that systemd starts then writes what is unwritten first.

const (
	// storeName is the name that systemd knows the memory by.
	storeName = "devlogd-store"
	// storeMagic says what is in the memory, and how it is laid out.
	storeMagic = 0x64766c6f67640001
	// takeTime is how long the hook may take to hand the files over.
	takeTime = 10 * time.Second
	// maxState is how large a description of the receiver is, in bytes.
	maxState = 256 << 10
	// maxReplays is how often the same messages are tried: they may be what the
	// receiver was killed by.
	maxReplays = 3
	// describeRetry is the time between two attempts to describe the receiver.
	describeRetry = time.Second
	// unused is the length of a slot without an unwritten message.
	unused = ^uint32(0)
)

// storeHead is the beginning of the memory.
type storeHead struct {
	magic uint64
	// restarts is how often the receiver was started anew.
	restarts uint64
	// pending are the messages that the outputs have taken and could not write.
	pending uint64
	// replays is how often it was begun to write what was unwritten.
	replays uint64
	// current is which of the two descriptions holds, and length how long each
	// is: one is written while the other holds.
	current uint64
	length  [2]uint64
}

// What follows the head, each part on pages of its own.
const (
	headersAt = pageSize
	controlAt = headersAt + (slots*int(unsafe.Sizeof(mmsghdr{}))+pageSize-1)/pageSize*pageSize
	statesAt  = controlAt + (slots*int(unsafe.Sizeof(control{}))+pageSize-1)/pageSize*pageSize
	slotsAt   = statesAt + 2*maxState
	storeSize = slotsAt + slots*slotSize
)

// store is that memory.
type store struct {
	fd     int
	memory []byte
	head   *storeHead
	// restarted says that it is of a receiver that was killed; files are what
	// systemd has given back with it. unreadable is why there is nothing in it.
	restarted  bool
	files      []handover.File
	unreadable error
	// again and lost are how many of its messages were written again and lost.
	again int
	lost  uint64
	// stored are the names of what systemd has.
	stored map[string]bool
	seen   seen
	// retry is when what holds is to be described again, which has failed; zero if
	// it has not.
	retry time.Time
	// started says that the receiver has been ready.
	started bool
}

// seen is what was last described.
type seen struct {
	sockets  []*socket
	cleanups []*cleanup
	text     string
	yielded  bool
	awaits   bool
	done     bool
}

// openStore returns the store of a receiver that is a service, or nil, and the
// files that were passed to it otherwise.
func openStore(files []handover.File) ([]handover.File, *store, error) {
	if i := slices.IndexFunc(files, func(f handover.File) bool { return f.Name == storeName }); i >= 0 {
		s, err := reuseStore(files[i].FD)
		if err != nil {
			return nil, nil, err
		}
		if s.unreadable != nil {
			files = slices.Delete(files, i, i+1)
		}
		s.restarted, s.files = true, files
		s.head.restarts++
		return nil, s, nil
	}
	if len(files) > 0 && handover.Supervised() { // it was started before, and its store is gone
		s, err := newStore()
		if err != nil {
			return nil, nil, err
		}
		s.restarted, s.files, s.unreadable = true, files, errors.New("there is no description")
		return nil, s, nil
	}
	taken, ok, err := handover.Taken(takeTime)
	if !ok || err != nil {
		return files, nil, err
	}
	s, err := newStore()
	return append(files, taken...), s, err
}

// reuseStore is the store in that descriptor or, where another version has laid it
// out in its own way, a new one in its place.
func reuseStore(fd int) (*store, error) {
	s, err := mapStore(fd)
	if err == nil {
		s.stored[storeName] = true
		return s, nil
	}
	unreadable := err
	_ = unix.Close(fd)
	if err := handover.Notify("FDSTOREREMOVE=1\nFDNAME=" + storeName); err != nil {
		return nil, err
	}
	if s, err = newStore(); err == nil {
		s.unreadable = unreadable
	}
	return s, err
}

// newStore makes a store and gives it to systemd.
func newStore() (*store, error) {
	fd, err := memfd.Create(storeName, memfd.Data)
	if err == nil {
		err = unix.Ftruncate(fd, int64(storeSize))
	}
	if err == nil {
		err = memfd.Seal(fd, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW)
	}
	if err != nil {
		return nil, fmt.Errorf("make memory that outlives this process: %w", err)
	}
	s, err := mapMemory(fd)
	if err != nil {
		return nil, err
	}
	s.head.magic = storeMagic
	headers, _ := s.parts()
	for i := range headers {
		headers[i].length = unused
	}
	return s, s.keep(storeName, fd)
}

// mapStore is the store of a receiver that was killed, or replaced.
func mapStore(fd int) (*store, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	if err == nil && st.Size != int64(storeSize) {
		err = errors.New("it has another size")
	}
	if err != nil {
		return nil, fmt.Errorf("go on where the receiver before was: %w", err)
	}
	s, err := mapMemory(fd)
	if err != nil {
		return nil, err
	}
	if s.head.magic != storeMagic {
		_ = unix.Munmap(s.memory)
		return nil, errors.New("go on where the receiver before was: it was of another version")
	}
	s.forgetPointers()
	return s, nil
}

func mapMemory(fd int) (*store, error) {
	memory, err := unix.Mmap(fd, 0, storeSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the memory that outlives this process: %w", err)
	}
	_ = unix.Madvise(memory, unix.MADV_NOHUGEPAGE)
	return &store{fd: fd, memory: memory, head: (*storeHead)(unsafe.Pointer(&memory[0])), stored: map[string]bool{}}, nil
}

// forgetPointers removes the addresses of the process before: its memory is not
// this one's, and Go's garbage collector looks at what a pointer that is
// overwritten has led to.
func (s *store) forgetPointers() {
	headers, _ := s.parts()
	for i := range headers {
		h := &headers[i].header
		for _, p := range []unsafe.Pointer{unsafe.Pointer(&h.Name), unsafe.Pointer(&h.Iov), unsafe.Pointer(&h.Control)} {
			*(*uintptr)(p) = 0 // not as a pointer, or it would be looked at
		}
	}
}

// parts are where the kernel notes what it has received, and from whom.
func (s *store) parts() ([]mmsghdr, []control) {
	return unsafe.Slice((*mmsghdr)(unsafe.Pointer(&s.memory[headersAt])), slots),
		unsafe.Slice((*control)(unsafe.Pointer(&s.memory[controlAt])), slots)
}

// keep gives systemd a file.
func (s *store) keep(name string, fd int) error {
	err := handover.Notify("FDSTORE=1\nFDPOLL=0\nFDNAME="+name, fd)
	if err == nil {
		s.stored[name] = true
	}
	return err
}

// drop has systemd close a file.
func (s *store) drop(name string) error {
	err := handover.Notify("FDSTOREREMOVE=1\nFDNAME=" + name)
	if err == nil {
		delete(s.stored, name)
	}
	return err
}

// storedName is the name that systemd has for an open file: what the kernel has
// for it, so that no file is there twice.
func storedName(fd int) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", fmt.Errorf("describe descriptor %d: %w", fd, err)
	}
	kind := "file" // the handle of a process is the only one
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		kind = "socket"
	case unix.S_IFDIR:
		kind = "directory"
	}
	id := idOf(&st)
	return kind + "-" + strconv.FormatUint(id.Dev, 16) + "-" + strconv.FormatUint(id.Ino, 10), nil
}

// stepStore describes the receiver anew if there is something that the
// description does not have. It is tried again as long as that fails, which is
// said once.
func (r *receiver) stepStore() {
	s := r.store
	if s == nil || s.seen.is(r) || !s.retry.IsZero() && time.Now().Before(s.retry) {
		return
	}
	err := s.describe(r)
	if err == nil {
		s.seen, s.retry = look(r), time.Time{}
		return
	}
	if s.retry.IsZero() {
		r.router.Report(fmt.Errorf("a receiver that is killed now would not go on: %w", err))
	}
	s.retry = time.Now().Add(describeRetry)
}

func look(r *receiver) seen {
	l := seen{sockets: append([]*socket{}, r.sockets...), cleanups: append([]*cleanup{}, r.cleanups...), awaits: r.awaits, done: true}
	if r.watcher != nil {
		l.text, l.yielded = r.watcher.Follows()
	}
	return l
}

func (l *seen) is(r *receiver) bool {
	if !l.done || l.awaits != r.awaits || len(l.sockets) != len(r.sockets) || len(l.cleanups) != len(r.cleanups) {
		return false
	}
	for i := range l.sockets {
		if l.sockets[i] != r.sockets[i] {
			return false
		}
	}
	for i := range l.cleanups {
		if l.cleanups[i] != r.cleanups[i] {
			return false
		}
	}
	if r.watcher == nil {
		return true
	}
	text, yielded := r.watcher.Follows()
	return l.text == text && l.yielded == yielded
}

// describe writes down what a program that goes on needs to know, and gives
// systemd what it needs to have. At every instant what is written down is
// something that systemd has.
func (s *store) describe(r *receiver) error {
	snap := r.snapshot(time.Now())
	snap.conns, snap.kernel, snap.outputs, snap.store = nil, nil, nil, -1
	snap.sandbox = nil // it ends with the process
	var names []string
	index := map[string]int{}
	keep := func(fd *int) (err error) {
		if *fd < 0 {
			return nil
		}
		name, err := storedName(*fd)
		if err != nil {
			return err
		}
		at, known := index[name]
		if !known {
			at = len(names)
			index[name] = at
			names = append(names, name)
			if !s.stored[name] {
				err = s.keep(name, *fd)
			}
		}
		*fd = at
		return err
	}
	if err := snap.eachDescriptor(keep); err != nil {
		return err
	}
	text := strings.Join(names, " ") + "\n" + strings.Join(r.identities(), " ") + "\n" + string(snap.format())
	if len(text) > maxState {
		return fmt.Errorf("what describes it has %d bytes, and %d at most can be kept", len(text), maxState)
	}
	other := 1 - s.head.current&1
	copy(s.memory[statesAt+int(other)*maxState:][:maxState], text)
	s.head.length[other] = uint64(len(text))
	s.head.current = other
	for name := range s.stored {
		if _, used := index[name]; !used && name != storeName {
			if err := s.drop(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// described is what was last described: the names of what systemd has, the
// processes that the receiver was, and its state.
func (s *store) described() (names, was []string, state []byte, err error) {
	which := s.head.current & 1
	size := s.head.length[which]
	if size == 0 || size > maxState {
		return nil, nil, nil, errors.New("go on where the receiver before was: it was killed before it was ready")
	}
	text := string(s.memory[statesAt+int(which)*maxState:][:size])
	first, rest, _ := strings.Cut(text, "\n")
	second, rest, _ := strings.Cut(rest, "\n")
	return strings.Fields(first), strings.Fields(second), []byte(rest), nil
}

// identities are the processes by which a record may know the receiver.
func (r *receiver) identities() []string {
	var list []string
	for _, p := range append(r.was[:len(r.was):len(r.was)], r.self) {
		list = append(list, strconv.Itoa(p.pid)+"/"+p.started)
	}
	return list
}

func parseIdentities(list []string) (was []process) {
	for _, text := range list {
		pid, started, _ := strings.Cut(text, "/")
		if n, err := strconv.Atoi(pid); err == nil {
			was = append(was, process{n, started})
		}
	}
	return was
}

// written says that the outputs have taken what was received, and how much of
// that is in this process only.
func (s *store) written(r *receiver) {
	pending := uint64(0)
	for _, route := range r.router.Routes {
		c := route.Out.Counts()
		pending += c.Pending + c.Untold
		if t, ok := route.Out.(*router.MeteredOutput); ok {
			pending += t.Repeats
		}
	}
	s.head.pending = pending
	if r.batch != nil {
		r.batch.forget()
	}
	s.head.replays = 0
}

// useStore has the receiver use a store, unless that is nil.
func (r *receiver) useStore(s *store) {
	if s == nil {
		return
	}
	r.store = s
	if _, was, _, err := s.described(); err == nil {
		r.was = parseIdentities(was)
	}
}

// tellReady tells systemd that the receiver is ready, if it has started it.
func (r *receiver) tellReady() error {
	if r.store == nil {
		return nil
	}
	r.store.started = true
	return handover.Notify("READY=1")
}
