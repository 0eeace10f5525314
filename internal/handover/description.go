package handover

import (
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

// Description is what a receiver's next program needs to know of it, beside its open
// files: what would be lost with the memory. Descriptors are numbers of open files, or
// -1. It is written as JSON. No member of that is renamed, or gets another meaning:
// another version may read it.
type Description struct {
	Program  string `json:"program"`  // the version that wrote it
	Receives bool   `json:"receives"` // its outputs are open
	Awaits   bool   `json:"awaits"`   // SIGTERM came: only the container's end is waited for
	Files    Files  `json:"files"`
	Started  Time   `json:"started"`
	// Counters are the receiver's, each by its name.
	Counters map[string]uint64 `json:"counters"`
	// PreviousIDs are the processes that the receiver was, as ID/START. A store has them.
	PreviousIDs []string      `json:"-"`
	Places      []*Place      `json:"places"`
	Sockets     []*Socket     `json:"sockets"`
	Connections []*Connection `json:"connections"`
	Kernel      *KernelLog    `json:"kernel"`      // nil if the kernel's log is not read
	Watcher     *Watcher      `json:"watcher"`     // nil if /dev/log is not watched
	Confinement *Confinement  `json:"confinement"` // nil if the process has not confined itself
	Outputs     []*Output     `json:"outputs"`
	// Unreadable is why this is of a receiver that has just started, with the sockets of
	// another; nil if the description could be read.
	Unreadable error `json:"-"`
}

// Files are the descriptors that there is one of each.
type Files struct {
	Init  int `json:"init"`  // the container's first process
	Root  int `json:"root"`  // its root directory
	Store int `json:"store"` // what a supervisor holds, see Store
}

// Place is a name to be removed at the end.
type Place struct {
	Dir   int     `json:"dir"` // its directory
	Name  Text    `json:"name"`
	Flags int     `json:"flags"` // of unlinkat(2)
	ID    file.ID `json:"id"`    // of the file that had it; zero if no file had it
}

// Socket is a socket to receive from.
type Socket struct {
	FD    int           `json:"fd"`
	Path  Text          `json:"path"`  // if the receiver has bound it itself
	Place int           `json:"place"` // its name: index in Places, or -1
	ID    file.ID       `json:"id"`    // of the name
	Run   int           `json:"run"`   // number of the repair that it came with
	Debt  time.Duration `json:"debt"`  // until its bucket is full
}

// Connection is a connection to a stream socket.
type Connection struct {
	FD      int    `json:"fd"`
	Framing int    `json:"framing"`
	Socket  int    `json:"socket"` // index in Sockets, or -1
	Skip    bool   `json:"skip"`   // up to the next end of a message
	Known   bool   `json:"known"`  // who sends
	PID     int64  `json:"pid"`
	UID     int64  `json:"uid"`
	GID     int64  `json:"gid"`
	Rest    []byte `json:"rest"` // of a message that is not complete
}

// KernelLog is the kernel's log as a source.
type KernelLog struct {
	FD       int    `json:"fd"`
	Sequence uint64 `json:"sequence"`
	Any      bool   `json:"any"` // a record was read
}

// Watcher is what was seen at /dev/log.
type Watcher struct {
	Target     Text          `json:"target"`
	Failed     Text          `json:"failed"`
	Problem    Text          `json:"problem"`
	Yielded    bool          `json:"yielded"`
	Unsaid     bool          `json:"unsaid"`
	Runs       int           `json:"runs"`
	Retries    int           `json:"retries"`
	Delay      time.Duration `json:"delay"`
	Repaired   uint64        `json:"repaired"`
	Last       Time          `json:"last"`
	Since      Time          `json:"since"`
	RepairedAt Time          `json:"repairedAt"`
	SaidAt     Time          `json:"saidAt"`
	FreeAt     Time          `json:"freeAt"`
}

// Confinement is how the process is confined, for good.
type Confinement struct {
	Mark     int  `json:"mark"` // the file whose name says how
	Landlock bool `json:"landlock"`
}

// Output is an output, with what was counted in front of it.
type Output struct {
	Path     Text        `json:"path"`
	Kind     int         `json:"kind"`
	Taken    uint64      `json:"taken"`
	Bytes    uint64      `json:"bytes"`
	Repeated uint64      `json:"repeated"`
	High     int         `json:"high"`
	State    OutputState `json:"state"`
}

// OutputState is what an output hands over to the one that takes its place.
type OutputState struct {
	Written uint64 `json:"written"`
	Lost    []Loss `json:"lost"`
	// Pending are whole lines; of the first, Torn bytes are in the file already.
	Pending []byte `json:"pending"`
	Torn    int    `json:"torn"`
	Ours    bool   `json:"ours"` // the first line is the receiver's own notice
	Sync    bool   `json:"sync"` // they must be synced
	// Unsaid are lost messages that the place does not tell of yet, and UnsaidBy
	// is why they were lost.
	Unsaid   uint64 `json:"unsaid"`
	UnsaidBy Text   `json:"unsaidBy"`
	// FD is the open place, where opening it again makes a difference; else -1.
	FD int `json:"fd"`
	// Used is how much of the budget was used in the interval that began Age ago.
	Used int           `json:"used"`
	Age  time.Duration `json:"age"`
}

// Loss is a number of messages that an output has lost for one reason.
type Loss struct {
	Reason string `json:"reason"`
	N      uint64 `json:"n"`
}

// Time is a time in nanoseconds since the epoch, of the wall clock: the other one has no
// zero that two programs know. 0 is never.
type Time int64

// TimeOf returns the time to hand over.
func TimeOf(t time.Time) Time {
	if t.IsZero() {
		return 0
	}
	return Time(t.UnixNano())
}

// Time returns the time that was handed over.
func (t Time) Time() time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(t))
}

// NewDescription returns one without open files.
func NewDescription() *Description {
	return &Description{Files: Files{Init: -1, Root: -1, Store: -1}, Counters: map[string]uint64{}}
}

// Each calls f for every descriptor, also those that are -1, until there is an error.
func (d *Description) Each(f func(fd *int) error) error {
	list := []*int{&d.Files.Init, &d.Files.Root, &d.Files.Store}
	for _, p := range d.Places {
		list = append(list, &p.Dir)
	}
	for _, s := range d.Sockets {
		list = append(list, &s.FD)
	}
	for _, c := range d.Connections {
		list = append(list, &c.FD)
	}
	if d.Kernel != nil {
		list = append(list, &d.Kernel.FD)
	}
	if d.Confinement != nil {
		list = append(list, &d.Confinement.Mark)
	}
	for _, o := range d.Outputs {
		list = append(list, &o.State.FD)
	}
	for _, fd := range list {
		if err := f(fd); err != nil {
			return err
		}
	}
	return nil
}

// Descriptors are all of them.
func (d *Description) Descriptors() (list []int) {
	_ = d.Each(func(fd *int) error {
		if *fd >= 0 {
			list = append(list, *fd)
		}
		return nil
	})
	return list
}

// Settle marks the files as not to be inherited (FD_CLOEXEC), and leaves out what there
// is no open file of, or no socket to receive from: it was given up, was never passed,
// or is of a kind that only another version knows.
func (d *Description) Settle() {
	_ = d.Each(func(fd *int) error {
		if _, err := unix.FcntlInt(uintptr(*fd), unix.F_SETFD, unix.FD_CLOEXEC); *fd >= 0 && err != nil {
			*fd = -1
		}
		return nil
	})
	var places, sockets []int // where each is then, -1 for those that are left out
	places, d.Places = compact(d.Places, func(p *Place) bool { return p.Dir >= 0 })
	sockets, d.Sockets = compact(d.Sockets, func(s *Socket) bool {
		ok := s.FD >= 0 && receives(s.FD)
		if s.FD >= 0 && !ok {
			_ = unix.Close(s.FD)
		}
		return ok
	})
	_, d.Connections = compact(d.Connections, func(c *Connection) bool { return c.FD >= 0 })
	for _, s := range d.Sockets {
		s.Place = at(places, s.Place)
	}
	for _, c := range d.Connections {
		c.Socket = at(sockets, c.Socket)
	}
	if d.Kernel != nil && d.Kernel.FD < 0 {
		d.Kernel = nil
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

// at is the number at i, or -1 if i is outside the list.
func at(list []int, i int) int {
	if i < 0 || i >= len(list) {
		return -1
	}
	return list[i]
}
