package intake

import (
	"bytes"
	"sync/atomic"
	"time"
	"unsafe"
)

// Messages in memory that outlives the process are counted if the process is killed: the
// kernel writes each there while it removes it from a socket's queue.

// The sizes of that memory's parts, in whole pages.
const (
	HeadersSize = (slots*int(unsafe.Sizeof(mmsghdr{})) + pageSize - 1) / pageSize * pageSize
	ControlSize = (slots*int(unsafe.Sizeof(control{})) + pageSize - 1) / pageSize * pageSize
	SlotsSize   = slots * slotSize
)

// unused is the length of a slot without an unwritten message.
const unused = ^uint32(0)

// KeepMemory uses these parts, which outlive the process. fresh says that no earlier process did.
func KeepMemory(headers, controls, messages []byte, marks *Marks, fresh bool) *Memory {
	m := &Memory{
		slots: messages, marks: marks, kept: true,
		headers: unsafe.Slice((*mmsghdr)(unsafe.Pointer(&headers[0])), slots),
		control: unsafe.Slice((*control)(unsafe.Pointer(&controls[0])), slots),
	}
	// Clear the earlier process's addresses, but not as pointers: Go's garbage collector would
	// follow a pointer that is overwritten.
	for i := range m.headers {
		h := &m.headers[i].header
		for _, p := range []unsafe.Pointer{unsafe.Pointer(&h.Name), unsafe.Pointer(&h.Iov), unsafe.Pointer(&h.Control)} {
			*(*uintptr)(p) = 0
		}
		if fresh {
			m.headers[i].length = unused
		}
	}
	m.held = m.unwritten()
	m.point()
	m.filled = slots
	m.touch()
	return m
}

// unwritten returns how many messages of an earlier process are in the memory.
func (m *Memory) unwritten() (n int) {
	for n < len(m.headers) && m.headers[n].length <= slotSize {
		n++
	}
	return n
}

// Marks are notes about the memory, in memory that outlives the process too.
type Marks struct {
	Number  uint64 // of the intake that has read last
	Entries uint64 // of the journal that it has read and that are not written
	Stream  uint64 // 1 if what is in the memory is a stream's data
}

// Lost returns how many messages an earlier process may have read, at most, and not written.
func (m *Memory) Lost() (n uint64) {
	n = uint64(m.unwritten())
	if n > 0 && m.marks.Stream != 0 {
		data, _ := m.message(0)
		// Messages end with one of the two, or begin with the third (RFC 6587).
		n = 1 + uint64(max(bytes.Count(data, []byte{'\n'}), bytes.Count(data, []byte{0}), bytes.Count(data, []byte{'<'})))
	}
	return n + m.marks.Entries
}

// hold prepares for messages that the intake reads. Unwritten messages of another intake are
// written first, because they would be overwritten.
func (m *Memory) hold(i *Intake, stream uint64) {
	if !m.kept {
		return
	}
	if m.holder != nil && (m.held > 0 || m.marks.Entries > 0) {
		m.holder.taker.Flush(time.Now())
	}
	m.holder, m.marks.Number, m.marks.Stream = i, i.Number, stream
}

// Forget records that the messages that this intake has read are written.
func (i *Intake) Forget() {
	if i.memory.holder == i {
		i.memory.Forget()
	}
}

// Forget records that the messages are written.
func (m *Memory) Forget() {
	if !m.kept {
		return
	}
	for i := range m.headers[:m.held] {
		m.headers[i].length = unused
	}
	m.held, m.marks.Entries = 0, 0
}

// touch allocates the first page of each slot: a process that is killed while the kernel
// allocates it would lose the message.
func (m *Memory) touch() {
	for i := range slots {
		atomic.OrUint32((*uint32)(unsafe.Pointer(&m.slots[i*slotSize])), 0) // writes without a change
	}
}
