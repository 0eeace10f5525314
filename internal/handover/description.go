package handover

import (
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

// Description is what a receiver's next program needs to know besides the open files: what
// would be lost with the memory. Descriptors are numbers of open files, or -1. It is written
// as JSON. Never rename a member or change its meaning: another version may read it.
type Description struct {
	Program  string `json:"program"`  // the version that wrote it
	Receives bool   `json:"receives"` // its outputs are open
	Awaits   bool   `json:"awaits"`   // SIGTERM came: the receiver waits for the container's end
	Files    Files  `json:"files"`
	Started  Time   `json:"started"`
	// Counters are the receiver's counters by name.
	Counters map[string]uint64 `json:"counters"`
	// PreviousIDs are the processes that the receiver was, as ID/START.
	PreviousIDs []string      `json:"-"`
	Cleanups    []*Cleanup    `json:"places"`
	Sockets     []*Socket     `json:"sockets"`
	Connections []*Connection `json:"connections"`
	Kernel      *KernelLog    `json:"kernel"`      // nil if the receiver does not read the kernel's log
	Watcher     *Watcher      `json:"watcher"`     // nil if it does not watch /dev/log
	Confinement *Confinement  `json:"confinement"` // nil if the process is not confined
	Outputs     []*Output     `json:"outputs"`
	// Unreadable is why there is no description: the receiver starts fresh with the sockets of
	// another. It is nil if the description could be read.
	Unreadable error `json:"-"`
}

// Files are the descriptors of which there is only one.
type Files struct {
	Init int `json:"init"` // the container's first process
	Root int `json:"root"` // its root directory
}

// Cleanup is a name to remove at the end.
type Cleanup struct {
	Dir   int     `json:"dir"` // its directory
	Name  Text    `json:"name"`
	Flags int     `json:"flags"` // of unlinkat(2)
	ID    file.ID `json:"id"`    // of the file with the name; zero for none
}

// Socket is a socket to receive from.
type Socket struct {
	FD      int           `json:"fd"`
	Path    Text          `json:"path"`              // if the receiver itself bound it
	Cleanup int           `json:"place"`             // its name: index in Cleanups, or -1
	ID      file.ID       `json:"id"`                // of the name
	Run     int           `json:"run"`               // number of the repair that made it
	Journal bool          `json:"journal,omitempty"` // it is for entries of the journal
	Debt    time.Duration `json:"debt"`              // time until its bucket is full
}

// Connection is a connection to a stream socket.
type Connection struct {
	FD      int    `json:"fd"`
	Framing int    `json:"framing"`
	Socket  int    `json:"socket"` // index in Sockets, or -1
	Skip    bool   `json:"skip"`   // skip up to the next end of a message
	Known   bool   `json:"known"`  // the sender is known
	PID     int64  `json:"pid"`
	UID     int64  `json:"uid"`
	GID     int64  `json:"gid"`
	Rest    []byte `json:"rest"`           // an incomplete message
	Head    []byte `json:"head,omitempty"` // what it sent first, if it is a standard output
}

// KernelLog is the kernel's log as a source.
type KernelLog struct {
	FD       int    `json:"fd"`
	Sequence uint64 `json:"sequence"`
	Any      bool   `json:"any"` // a record was read
}

// Watcher is what was found at /dev/log.
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

// Confinement is how the process is permanently confined.
type Confinement struct {
	Mark     int  `json:"mark"` // the file whose name describes it
	Landlock bool `json:"landlock"`
}

// Output is an output, and the counts of the meter before it.
type Output struct {
	Path     Text        `json:"path"`
	Kind     int         `json:"kind"`
	Taken    uint64      `json:"taken"`
	Bytes    uint64      `json:"bytes"`
	Repeated uint64      `json:"repeated"`
	High     int         `json:"high"`
	State    OutputState `json:"state"`
}

// OutputState is what an output passes to its successor.
type OutputState struct {
	Written uint64 `json:"written"`
	Lost    []Loss `json:"lost"`
	// Pending are whole lines. The file already has Torn bytes of the first.
	Pending []byte `json:"pending"`
	Torn    int    `json:"torn"`
	Ours    bool   `json:"ours"` // the first line is a notice
	Sync    bool   `json:"sync"` // they must be synced
	// Unsaid are lost messages without a notice in the output, and UnsaidBy is why they were
	// lost.
	Unsaid   uint64 `json:"unsaid"`
	UnsaidBy Text   `json:"unsaidBy"`
	// FD is the open file, if opening it again would make a difference; otherwise -1.
	FD int `json:"fd"`
	// Used is how much of the limit was used in the interval that began Age ago.
	Used int           `json:"used"`
	Age  time.Duration `json:"age"`
}

// Loss is a number of messages that an output lost for one reason.
type Loss struct {
	Reason string `json:"reason"`
	N      uint64 `json:"n"`
}

// Time is a time of the wall clock, in nanoseconds since the epoch; 0 for never. The monotonic
// clock has no zero that two programs share.
type Time int64

// TimeOf returns the time to pass on.
func TimeOf(t time.Time) Time {
	if t.IsZero() {
		return 0
	}
	return Time(t.UnixNano())
}

// Time returns the time that was passed on.
func (t Time) Time() time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(t))
}

// NewDescription returns a description without open files.
func NewDescription() *Description {
	return &Description{Files: Files{Init: -1, Root: -1}, Counters: map[string]uint64{}}
}

// Each calls f for every descriptor, even if it is -1, until there is an error.
func (d *Description) Each(f func(fd *int) error) error {
	list := []*int{&d.Files.Init, &d.Files.Root}
	for _, p := range d.Cleanups {
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

// Descriptors returns all of them.
func (d *Description) Descriptors() (list []int) {
	_ = d.Each(func(fd *int) error {
		if *fd >= 0 {
			list = append(list, *fd)
		}
		return nil
	})
	return list
}

// Settle marks the files as not to be inherited (FD_CLOEXEC). It removes everything without
// its open file, or without a socket to receive from: it was given up, or never passed, or
// only another version knows it.
func (d *Description) Settle() {
	_ = d.Each(func(fd *int) error {
		if _, err := unix.FcntlInt(uintptr(*fd), unix.F_SETFD, unix.FD_CLOEXEC); *fd >= 0 && err != nil {
			*fd = -1
		}
		return nil
	})
	var cleanups, sockets []int // the new index of each, or -1 if it is removed
	cleanups, d.Cleanups = compact(d.Cleanups, func(p *Cleanup) bool { return p.Dir >= 0 })
	sockets, d.Sockets = compact(d.Sockets, func(s *Socket) bool {
		ok := s.FD >= 0 && boundAt(s.FD) != ""
		if s.FD >= 0 && !ok {
			_ = unix.Close(s.FD)
		}
		return ok
	})
	_, d.Connections = compact(d.Connections, func(c *Connection) bool { return c.FD >= 0 })
	for _, s := range d.Sockets {
		s.Cleanup = at(cleanups, s.Cleanup)
	}
	for _, c := range d.Connections {
		c.Socket = at(sockets, c.Socket)
	}
	if d.Kernel != nil && d.Kernel.FD < 0 {
		d.Kernel = nil
	}
}

// compact returns the elements of the list that are kept, and for each element of the list its
// new index, or -1.
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

// at returns the number at i, or -1 if i is outside the list.
func at(list []int, i int) int {
	if i < 0 || i >= len(list) {
		return -1
	}
	return list[i]
}
