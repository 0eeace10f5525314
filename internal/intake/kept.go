package intake

import (
	"sync/atomic"
	"unsafe"

	"devlog/internal/syslog"
)

// Memory that outlives the process loses nothing when the process is killed: the
// kernel notes each message there as it takes it out of a socket's queue.

// The sizes of the parts of such memory, in whole pages.
const (
	HeadersSize = (slots*int(unsafe.Sizeof(mmsghdr{})) + pageSize - 1) / pageSize * pageSize
	ControlSize = (slots*int(unsafe.Sizeof(control{})) + pageSize - 1) / pageSize * pageSize
	SlotsSize   = slots * slotSize
)

// unused is the length of a slot without an unwritten message.
const unused = ^uint32(0)

// KeepMemory returns memory that consists of these parts, which outlive the process.
// With fresh nothing of an earlier process is in it.
func KeepMemory(headers, controls, messages []byte, fresh bool) *Memory {
	m := &Memory{
		slots: messages, kept: true,
		headers: unsafe.Slice((*mmsghdr)(unsafe.Pointer(&headers[0])), slots),
		control: unsafe.Slice((*control)(unsafe.Pointer(&controls[0])), slots),
	}
	// The addresses of the process before are not this one's: they are removed not as
	// pointers, because Go's garbage collector looks at what a pointer that is overwritten
	// has led to.
	for i := range m.headers {
		h := &m.headers[i].header
		for _, p := range []unsafe.Pointer{unsafe.Pointer(&h.Name), unsafe.Pointer(&h.Iov), unsafe.Pointer(&h.Control)} {
			*(*uintptr)(p) = 0
		}
		if fresh {
			m.headers[i].length = unused
		}
	}
	m.held = m.Unwritten()
	m.point()
	m.filled = slots
	m.touch()
	return m
}

// Unwritten is how many messages of an earlier process are in the memory.
func (m *Memory) Unwritten() (n int) {
	for n < len(m.headers) && m.headers[n].length <= slotSize {
		n++
	}
	return n
}

// Message returns message i of those that Unwritten counts, as Taker.Take has it.
func (m *Memory) Message(i int) (raw []byte, cut bool, from syslog.Sender) {
	raw, cut = m.message(i)
	return raw, cut, m.sender(i)
}

// Forget says that the messages are written.
func (m *Memory) Forget() {
	if !m.kept {
		return
	}
	for i := range m.headers[:m.held] {
		m.headers[i].length = unused
	}
	m.held = 0
}

// holds reports whether a receive would overwrite messages that are not written.
func (m *Memory) holds() bool { return m.kept && m.held > 0 }

// touch gives each slot its first page beforehand: a process that is killed while
// the kernel looks for one would lose the message that it is to hold.
func (m *Memory) touch() {
	for i := range slots {
		atomic.OrUint32((*uint32)(unsafe.Pointer(&m.slots[i*slotSize])), 0) // a write that changes nothing
	}
}
