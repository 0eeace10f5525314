package intake

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"devlog/internal/syslog"
)

const (
	slots    = 64       // messages of one recvmmsg(2)
	slotSize = 64 << 10 // in bytes; longer messages are cut
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
	iovecs  [slots]unix.Iovec
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
	holder *Intake // that read what is held; nil if another process did
	marks  *Marks  // about what is held
}

// control has room for one SCM_CREDENTIALS (unix(7)) and nothing else. The kernel closes
// descriptors that clients pass, because there is no room for them; see Socket.refuseFiles.
type control struct {
	header unix.Cmsghdr
	cred   unix.Ucred
	_      [controlSize - unix.SizeofCmsghdr - unix.SizeofUcred]byte
}

// controlSize is CMSG_SPACE(sizeof(struct ucred)).
const controlSize = (unix.SizeofCmsghdr + unix.SizeofUcred + wordSize - 1) / wordSize * wordSize

const wordSize = unix.SizeofPtr

// NewMemory returns memory to read into. It takes up no memory before the first read.
func NewMemory() *Memory { return &Memory{marks: &Marks{}} }

func (m *Memory) get() error {
	if m.slots != nil {
		return nil
	}
	memory, err := unix.Mmap(-1, 0, slots*slotSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("cannot get memory for messages: %w", err)
	}
	// A huge page would make 2 MiB of the first byte.
	_ = unix.Madvise(memory, unix.MADV_NOHUGEPAGE)
	m.slots, m.headers = memory, make([]mmsghdr, slots)
	m.point()
	return nil
}

// point makes the headers point to the slots.
func (m *Memory) point() {
	for i := range m.headers {
		m.iovecs[i].Base = &m.slots[i*slotSize]
		m.iovecs[i].SetLen(slotSize)
		m.headers[i].header.Iov = &m.iovecs[i]
		m.headers[i].header.SetIovlen(1)
	}
}

// ask makes the kernel report, or not report, who sends each message.
func (m *Memory) ask(asks bool) {
	m.asks = asks
	if asks && m.control == nil {
		m.control = make([]control, slots)
	}
	for i := range m.headers {
		m.headers[i].header.Control = nil
		if asks {
			m.headers[i].header.Control = (*byte)(unsafe.Pointer(&m.control[i]))
		}
		m.headers[i].header.SetControllen(0)
	}
	m.filled = slots
}

// read reads once from a stream, without waiting. The data is valid until the next read; none is the end.
func (m *Memory) read(fd int) ([]byte, error) {
	if err := m.get(); err != nil {
		return nil, err
	}
	if n, err := m.receive(fd, 1, false); n == 0 || m.headers[0].length == 0 {
		m.Forget()
		return nil, err
	}
	data, _ := m.message(0)
	return data, nil
}

// receive reads up to that many messages that are queued at a socket, without waiting. It
// returns their number; see message. The error is EAGAIN if the queue is empty, even after
// shutdown(SHUT_RD): 0 bytes are an empty message, not the end.
func (m *Memory) receive(fd, most int, asks bool) (int, error) {
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
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.headers[0])), uintptr(min(most, slots)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		m.filled = 0
		return 0, errno
	}
	m.filled, m.held = int(n), int(n)
	m.used = max(m.used, int(n))
	return int(n), nil
}

// message returns message i, and whether it was longer. It is valid until the next receive.
func (m *Memory) message(i int) (raw []byte, cut bool) {
	h := &m.headers[i]
	n := int(h.length)
	m.big = m.big || n > pageSize
	return m.slots[i*slotSize:][:n:n], h.header.Flags&unix.MSG_TRUNC != 0
}

// sender returns who sent message i, if the kernel was asked.
func (m *Memory) sender(i int) syslog.Sender {
	if m.control == nil || m.headers[i].header.Controllen == 0 {
		return syslog.Sender{}
	}
	c := &m.control[i]
	if c.header.Level != unix.SOL_SOCKET || c.header.Type != unix.SCM_CREDENTIALS {
		return syslog.Sender{}
	}
	return sender(&c.cred)
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
