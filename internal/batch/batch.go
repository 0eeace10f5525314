// Package batch owns the memory that messages are read into: many with one system call. It can
// outlive the process, so that what a killed process has read and not written is counted.
package batch

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"devlog/internal/syslog"
)

const (
	// Slots is how many messages are read at once.
	Slots = 64
	// SlotSize is how many bytes are read of a message. Longer messages are cut.
	SlotSize = 64 << 10

	pageSize = 4 << 10
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

// Memory is what messages are read into: many datagrams with one system call, or data of a
// stream. The next read overwrites it.
type Memory struct {
	slots   []byte // SlotsSize, of which only touched pages exist
	iovecs  [Slots]unix.Iovec
	headers []mmsghdr
	control []control // for the senders; nil until needed
	asks    bool      // the headers point to control
	filled  int       // slots of the last receive
	big     bool      // pages after a slot's first are touched
	used    int       // number of touched slots
	// kept says that the memory outlives this process. Then what is held counts as unwritten,
	// until Forget before the next receive.
	kept   bool
	held   int
	holder Holder // has read what is held; nil if another process did
	marks  *Marks // about what is held
}

// control has room for one SCM_CREDENTIALS (unix(7)) and nothing else. The kernel closes
// descriptors that clients pass, because there is no room for them; see intake.Socket.
type control struct {
	header unix.Cmsghdr
	cred   unix.Ucred
	_      [controlSize - unix.SizeofCmsghdr - unix.SizeofUcred]byte
}

// controlSize is CMSG_SPACE(sizeof(struct ucred)).
const controlSize = (unix.SizeofCmsghdr + unix.SizeofUcred + wordSize - 1) / wordSize * wordSize

const wordSize = unix.SizeofPtr

// New returns memory to read into. It takes up no memory before Allocate.
func New() *Memory { return &Memory{marks: &Marks{}} }

// Allocate allocates the memory, if that was not done.
func (m *Memory) Allocate() error {
	if m.slots != nil {
		return nil
	}
	memory, err := unix.Mmap(-1, 0, Slots*SlotSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("cannot get memory for messages: %w", err)
	}
	// A huge page would make 2 MiB of the first byte.
	_ = unix.Madvise(memory, unix.MADV_NOHUGEPAGE)
	m.slots, m.headers = memory, make([]mmsghdr, Slots)
	m.point()
	return nil
}

// point makes the headers point to the slots.
func (m *Memory) point() {
	for i := range m.headers {
		m.iovecs[i].Base = &m.slots[i*SlotSize]
		m.iovecs[i].SetLen(SlotSize)
		m.headers[i].header.Iov = &m.iovecs[i]
		m.headers[i].header.SetIovlen(1)
	}
}

// ask makes the kernel report, or not report, who sends each message.
func (m *Memory) ask(asks bool) {
	m.asks = asks
	if asks && m.control == nil {
		m.control = make([]control, Slots)
	}
	for i := range m.headers {
		m.headers[i].header.Control = nil
		if asks {
			m.headers[i].header.Control = (*byte)(unsafe.Pointer(&m.control[i]))
		}
		m.headers[i].header.SetControllen(0)
	}
	m.filled = Slots
}

// Read reads once from a stream, without waiting. The data is valid until the next read; none is the end.
func (m *Memory) Read(fd int) ([]byte, error) {
	if err := m.Allocate(); err != nil {
		return nil, err
	}
	if n, err := m.Receive(fd, 1, false); n == 0 || m.headers[0].length == 0 {
		m.Forget()
		return nil, err
	}
	data, _ := m.Message(0)
	return data, nil
}

// Receive reads up to that many messages that are queued at a socket, without waiting. It
// returns their number; see Message. The error is EAGAIN if the queue is empty, even after
// shutdown(SHUT_RD): 0 bytes are an empty message, not the end.
func (m *Memory) Receive(fd, most int, asks bool) (int, error) {
	if m.asks != asks {
		m.ask(asks)
	}
	if asks {
		for i := range m.headers[:m.filled] {
			m.headers[i].header.SetControllen(controlSize)
			m.control[i].header = unix.Cmsghdr{}
		}
	}
	// A raw call, which the scheduler does not see: see eventloop.
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.headers[0])), uintptr(min(most, Slots)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		m.filled = 0
		return 0, errno
	}
	m.filled, m.held = int(n), int(n)
	m.used = max(m.used, int(n))
	return int(n), nil
}

// Message returns message i, and whether it was longer. It is valid until the next Receive.
func (m *Memory) Message(i int) (raw []byte, cut bool) {
	h := &m.headers[i]
	n := int(h.length)
	m.big = m.big || n > pageSize
	return m.slots[i*SlotSize:][:n:n], h.header.Flags&unix.MSG_TRUNC != 0
}

// Sender returns who sent message i, if the kernel was asked.
func (m *Memory) Sender(i int) syslog.Sender {
	if m.control == nil || m.headers[i].header.Controllen == 0 {
		return syslog.Sender{}
	}
	c := &m.control[i]
	if c.header.Level != unix.SOL_SOCKET || c.header.Type != unix.SCM_CREDENTIALS {
		return syslog.Sender{}
	}
	return SenderOf(&c.cred)
}

// overflowID is the kernel's ID for a user or group without a number here, and for messages
// that were sent before SO_PASSCRED was set.
const overflowID = 65534

// SenderOf returns the sender with these credentials; zero if the kernel does not know them.
func SenderOf(c *unix.Ucred) syslog.Sender {
	if c.Pid == 0 && c.Uid == overflowID && c.Gid == overflowID {
		return syslog.Sender{}
	}
	return syslog.Sender{Known: true, PID: c.Pid, UID: c.Uid, GID: c.Gid}
}

// Release frees memory of big messages that were written.
func (m *Memory) Release() {
	if m.big {
		m.clear()
	}
}

const keptSlots = 8 // whose memory is not worth freeing

// Rest frees memory that many messages at once needed.
func (m *Memory) Rest() {
	if m.used > keptSlots && !m.kept {
		m.clear()
	}
}

func (m *Memory) clear() {
	if !m.kept {
		_ = unix.Madvise(m.slots, unix.MADV_DONTNEED)
	} else if m.held == 0 {
		_ = unix.Madvise(m.slots, unix.MADV_REMOVE)
		m.touch()
	}
	m.big, m.used = false, 0
}

// Close frees all memory.
func (m *Memory) Close() {
	if !m.kept && m.slots != nil {
		_ = unix.Munmap(m.slots)
	}
}
