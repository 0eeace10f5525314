package receiver

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"devlog/internal/syslog"
)

const (
	slots    = 64       // messages of one recvmmsg(2)
	slotSize = 64 << 10 // bytes; what is longer is cut
	pageSize = 4 << 10
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

// batch receives many datagrams with one system call.
type batch struct {
	memory  []byte // slots*slotSize, of which only touched pages exist
	iovecs  [slots]unix.Iovec
	headers []mmsghdr
	// control is for who sent each message; nil if that is not asked for.
	control []control
	filled  int  // slots of the last receive
	big     bool // pages behind a slot's first are touched
	used    int  // so many slots are touched
	// kept says that the memory and the headers outlive this process; then what
	// is held is unwritten, and is to be forgotten before the next receive.
	kept bool
	held int
}

// control has room for one SCM_CREDENTIALS (unix(7)) and nothing else: where
// there is no room for descriptors that clients pass the kernel closes them.
type control struct {
	header unix.Cmsghdr
	cred   unix.Ucred
	_      [controlSize - unix.SizeofCmsghdr - unix.SizeofUcred]byte
}

// controlSize is CMSG_SPACE(sizeof(struct ucred)).
const controlSize = (unix.SizeofCmsghdr + unix.SizeofUcred + wordSize - 1) / wordSize * wordSize

const wordSize = unix.SizeofPtr

func newBatch(senders bool) (*batch, error) {
	memory, err := unix.Mmap(-1, 0, slots*slotSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("get memory to receive into: %w", err)
	}
	// A huge page would make 2 MiB of the first byte.
	_ = unix.Madvise(memory, unix.MADV_NOHUGEPAGE)
	b := &batch{memory: memory, headers: make([]mmsghdr, slots)}
	if senders {
		b.control = make([]control, slots)
	}
	b.point()
	b.filled = slots
	return b, nil
}

// keptBatch is newBatch in a store, with what is held there.
func keptBatch(s *store, senders bool) *batch {
	b := &batch{memory: s.Memory[slotsAt:], kept: true}
	b.headers, b.control = s.parts()
	b.point()
	if !senders { // there may be some of those that are held
		for i := range b.headers {
			b.headers[i].header.Control = nil
		}
	}
	b.held = b.unwritten()
	b.filled = slots
	b.touch()
	return b
}

// point has the headers point to where messages are to go.
func (b *batch) point() {
	for i := range b.headers {
		b.iovecs[i].Base = &b.memory[i*slotSize]
		b.iovecs[i].SetLen(slotSize)
		b.headers[i].header.Iov = &b.iovecs[i]
		b.headers[i].header.SetIovlen(1)
		if b.control != nil {
			b.headers[i].header.Control = (*byte)(unsafe.Pointer(&b.control[i]))
		}
	}
}

// askSenders has the headers ask who sends each message.
func (b *batch) askSenders() {
	if b.control == nil {
		b.control = make([]control, slots)
	}
	for i := range b.headers {
		b.headers[i].header.Control = (*byte)(unsafe.Pointer(&b.control[i]))
		b.headers[i].header.SetControllen(0) // of what is held
	}
	b.filled = slots
}

// unwritten is how many messages the headers tell of.
func (b *batch) unwritten() (n int) {
	for n < slots && b.headers[n].length <= slotSize {
		n++
	}
	return n
}

// forget says that what is held is written.
func (b *batch) forget() {
	if !b.kept {
		return
	}
	for i := range b.headers[:b.held] {
		b.headers[i].length = unused
	}
	b.held = 0
}

// touch gives each slot its first page beforehand: a process that is killed while
// the kernel looks for one would lose the message that it is to hold.
func (b *batch) touch() {
	for i := range slots {
		atomic.OrUint32((*uint32)(unsafe.Pointer(&b.memory[i*slotSize])), 0) // a write that changes nothing
	}
}

// receive reads what is queued at a socket, at most this many messages, without
// waiting, and returns how many that are; see message. An empty queue is EAGAIN, also after
// shutdown(SHUT_RD): 0 bytes are an empty message, never an end.
func (b *batch) receive(fd, most int) (int, error) {
	if b.control != nil && b.headers[0].header.Control != nil {
		for i := range b.headers[:b.filled] {
			b.headers[i].header.SetControllen(controlSize)
			b.control[i].header = unix.Cmsghdr{}
		}
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.headers[0])), uintptr(min(most, slots)), unix.MSG_DONTWAIT, 0, 0) // unknown to the scheduler: see waiter
	if errno != 0 {
		b.filled = 0
		return 0, errno
	}
	b.filled, b.held = int(n), int(n)
	b.used = max(b.used, int(n))
	return int(n), nil
}

// message returns message i, and whether it was longer than that. It is valid
// until the next receive.
func (b *batch) message(i int) (raw []byte, cut bool) {
	h := &b.headers[i]
	n := int(h.length)
	b.big = b.big || n > pageSize
	return b.memory[i*slotSize:][:n:n], h.header.Flags&unix.MSG_TRUNC != 0
}

// sender returns who sent message i, if that was asked for.
func (b *batch) sender(i int) syslog.Sender {
	if b.control == nil || b.headers[i].header.Controllen == 0 {
		return syslog.Sender{}
	}
	c := &b.control[i]
	if c.header.Level != unix.SOL_SOCKET || c.header.Type != unix.SCM_CREDENTIALS {
		return syslog.Sender{}
	}
	return sender(&c.cred)
}

// release gives memory back that big messages have taken.
func (b *batch) release() {
	if b.big {
		b.clear()
	}
}

// keptSlots are so few that their memory is not worth giving back.
const keptSlots = 8

// rest gives memory back that many messages at once have taken.
func (b *batch) rest() {
	if b.used > keptSlots && !b.kept {
		b.clear()
	}
}

func (b *batch) clear() {
	if !b.kept {
		_ = unix.Madvise(b.memory, unix.MADV_DONTNEED)
	} else if b.held == 0 {
		_ = unix.Madvise(b.memory, unix.MADV_REMOVE)
		b.touch()
	}
	b.big, b.used = false, 0
}
