package handover

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/memfd"
	"devlog/internal/notify"
	"devlog/internal/pidfd"
)

// A supervisor that keeps open files (FileDescriptorStoreMax= of systemd.service(5)) can
// restart a receiver after a kill. One of the files is memory. It holds the description of the
// others, and messages that were received and not written.

const (
	// StoreName is the supervisor's name for the memory.
	StoreName = "devlogd-store"
	// hookTime is how long to wait for the files from the hook.
	hookTime = 10 * time.Second
	// MaxDescription is the largest description in the memory, in bytes.
	MaxDescription = 256 << 10
)

// Layout is the layout of the memory: a Head at the start, two descriptions at At, and then
// the receiver's part. Magic identifies the layout.
type Layout struct {
	Magic    uint64
	At, Size int
}

// Head is the beginning of the memory.
type Head struct {
	magic uint64
	// Restarts is how often the receiver was restarted.
	Restarts uint64
	// Pending are messages that outputs accepted and have not written.
	Pending uint64
	// Replays is how often a receiver began to write unwritten messages.
	Replays uint64
	// current is the valid one of the two descriptions: the other can be written meanwhile.
	// length is the length of each.
	current uint64
	length  [2]uint64
}

// Store is that memory.
type Store struct {
	FD     int
	Memory []byte
	Head   *Head
	// Restarted says that the earlier receiver was killed.
	Restarted bool
	files     []File // from the supervisor; empty after they are described
	layout    Layout
	stored    map[string]bool // the supervisor's names for its files
	// unreadable is why the memory has nothing from an earlier receiver.
	unreadable error
}

// OpenStore returns the store of a supervised receiver, or nil, and the other files that were
// passed to it.
func OpenStore(files []File, l Layout) ([]File, *Store, error) {
	i := slices.IndexFunc(files, func(f File) bool { return f.Name == StoreName })
	if i < 0 && (len(files) == 0 || !Supervised()) { // its first start
		more, ok, err := FromHook(hookTime)
		if !ok || err != nil {
			return files, nil, err
		}
		s, err := NewStore(l)
		return append(files, more...), s, err
	}
	var s *Store
	var err error
	if i >= 0 {
		s, err = ReuseStore(files[i].FD, l)
		files = slices.Delete(slices.Clone(files), i, i+1)
	} else if s, err = NewStore(l); err == nil {
		s.unreadable = errors.New("no description was stored")
	}
	if err != nil {
		return nil, nil, err
	}
	s.Restarted, s.files = true, files
	s.Head.Restarts++
	return nil, s, nil
}

// NewStore makes a store and passes it to the supervisor.
func NewStore(l Layout) (*Store, error) {
	fd, err := memfd.Create(StoreName, memfd.Data)
	if err == nil {
		err = unix.Ftruncate(fd, int64(l.Size))
	}
	if err == nil {
		err = memfd.Seal(fd, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make memory that outlives this process: %w", err)
	}
	s, err := mapStore(fd, l)
	if err != nil {
		return nil, err
	}
	s.Head.magic = l.Magic
	return s, s.keep(StoreName, fd)
}

// ReuseStore returns the store of the earlier program. If that program used another layout, it
// returns a new store.
func ReuseStore(fd int, l Layout) (*Store, error) {
	var st unix.Stat_t
	unreadable := unix.Fstat(fd, &st)
	if unreadable == nil && st.Size != int64(l.Size) {
		unreadable = errors.New("the memory of the earlier receiver has another size")
	}
	if unreadable == nil {
		s, err := mapStore(fd, l)
		if err != nil {
			return nil, err
		}
		if s.Head.magic == l.Magic {
			s.stored[StoreName] = true
			return s, nil
		}
		_ = unix.Munmap(s.Memory)
		unreadable = errors.New("the memory of the earlier receiver is of another version")
	}
	_ = unix.Close(fd)
	if err := notify.Unkeep(StoreName); err != nil {
		return nil, err
	}
	s, err := NewStore(l)
	if err == nil {
		s.unreadable = unreadable
	}
	return s, err
}

func mapStore(fd int, l Layout) (*Store, error) {
	memory, err := unix.Mmap(fd, 0, l.Size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("cannot map the memory that outlives this process: %w", err)
	}
	_ = unix.Madvise(memory, unix.MADV_NOHUGEPAGE)
	return &Store{FD: fd, Memory: memory, Head: (*Head)(unsafe.Pointer(&memory[0])), layout: l, stored: map[string]bool{}}, nil
}

// New returns whether the store has nothing from an earlier program.
func (s *Store) New() bool { return !s.Restarted || s.unreadable != nil }

// keep passes a file to the supervisor.
func (s *Store) keep(name string, fd int) error {
	err := notify.Keep(name, fd)
	if err == nil {
		s.stored[name] = true
	}
	return err
}

// StoredName returns the supervisor's name for an open file. It is the kernel's name for it,
// so that no file is stored twice.
func StoredName(fd int) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", fmt.Errorf("cannot describe descriptor %d: %w", fd, err)
	}
	kind := "file"
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		kind = "socket"
	case unix.S_IFDIR:
		kind = "directory"
	default:
		// Before Linux 6.9 all pidfds had one inode number.
		if pid, err := pidfd.PID(fd); err == nil {
			kind = "process-" + strconv.Itoa(pid)
		}
	}
	id := file.IDOf(&st)
	return kind + "-" + strconv.FormatUint(id.Dev, 16) + "-" + strconv.FormatUint(id.Ino, 10), nil
}

// Store replaces each descriptor by the index of its file's StoredName in names, after keep has
// given the file to the supervisor.
func (d *Description) Store(keep func(name string, fd int) error) (names []string, err error) {
	err = d.Each(func(fd *int) error {
		if *fd < 0 {
			return nil
		}
		name, err := StoredName(*fd)
		if err != nil {
			return err
		}
		at := slices.Index(names, name)
		if at < 0 {
			at = len(names)
			names = append(names, name)
			err = keep(name, *fd)
		}
		*fd = at
		return err
	})
	return names, err
}

// Unstore replaces each index of names, which Store has put there, by a duplicate of the given
// descriptor of that name; -1 without one. Two handles on one directory are one file for the
// supervisor.
func (d *Description) Unstore(names []string, given map[string]int) error {
	return d.Each(func(fd *int) error {
		index := *fd
		if *fd = -1; index < 0 || index >= len(names) {
			return nil
		}
		from, ok := given[names[index]]
		if !ok {
			return nil
		}
		twin, err := unix.FcntlInt(uintptr(from), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("cannot use descriptor %d of the earlier receiver: %w", from, err)
		}
		*fd = twin
		return nil
	})
}

// Write writes the description, and passes the files in it to the supervisor. It changes the
// descriptors in the description. At every moment the supervisor has all files of the valid
// description.
func (s *Store) Write(d *Description) error {
	// These end with the process, or belong to it alone.
	d.Connections, d.Kernel, d.Outputs, d.Confinement, d.Files.Store = nil, nil, nil, nil, -1
	names, err := d.Store(func(name string, fd int) error {
		if s.stored[name] {
			return nil
		}
		return s.keep(name, fd)
	})
	if err != nil {
		return err
	}
	text := strings.Join(names, " ") + "\n" + strings.Join(d.PreviousIDs, " ") + "\n" + string(d.Format())
	if len(text) > MaxDescription {
		return fmt.Errorf("what describes it has %d bytes, and %d at most can be kept", len(text), MaxDescription)
	}
	other := 1 - s.Head.current&1
	copy(s.Memory[s.layout.At+int(other)*MaxDescription:][:MaxDescription], text)
	s.Head.length[other] = uint64(len(text))
	s.Head.current = other
	for name := range s.stored {
		if name != StoreName && !slices.Contains(names, name) {
			if err := notify.Unkeep(name); err != nil {
				return err
			}
			delete(s.stored, name)
		}
	}
	return nil
}

// read returns what was last written: the names of the files, the processes that the receiver
// was, and the description.
func (s *Store) read() (names, previous []string, description string, err error) {
	which := s.Head.current & 1
	size := s.Head.length[which]
	switch {
	case s.unreadable != nil:
		return nil, nil, "", s.unreadable
	case size == 0 || size > MaxDescription:
		return nil, nil, "", errors.New("it was killed before it was ready")
	}
	text := string(s.Memory[s.layout.At+int(which)*MaxDescription:][:size])
	first, rest, _ := strings.Cut(text, "\n")
	second, rest, _ := strings.Cut(rest, "\n")
	return strings.Fields(first), strings.Fields(second), rest, nil
}

// Resume makes the program use the store that the earlier program of this process left. It
// returns the processes that the receiver was.
func (s *Store) Resume() (previousIDs []string) {
	names, previous, _, err := s.read()
	if err != nil {
		return nil
	}
	for _, name := range names {
		s.stored[name] = true
	}
	return previous
}

// Restart describes the killed receiver, with the descriptors from the supervisor. Its
// counters and connections are lost.
func (s *Store) Restart() (*Description, error) {
	given := map[string]int{}
	var all []int
	for _, f := range s.files {
		given[f.Name] = f.FD
		s.stored[f.Name] = true
		all = append(all, f.FD)
	}
	s.files = nil
	names, previous, text, err := s.read()
	var d *Description
	if err == nil {
		d, err = Parse([]byte(text))
	}
	if err != nil {
		return Undescribed(all, err), nil
	}
	err = d.Unstore(names, given)
	file.CloseAll(all)
	d.Connections, d.Kernel, d.Outputs, d.Confinement = nil, nil, nil, nil
	d.Counters, d.Started, d.PreviousIDs = map[string]uint64{}, 0, previous
	return d, err
}
