package intake

import (
	"sync/atomic"
	"time"
	"unsafe"
)

// Messages in memory that outlives the process are not lost if the process is killed: the
// kernel writes each there while it removes it from a socket's queue.

// The sizes of that memory's parts, in whole pages.
const (
	HeadersSize = (slots*int(unsafe.Sizeof(mmsghdr{})) + pageSize - 1) / pageSize * pageSize
	ControlSize = (slots*int(unsafe.Sizeof(control{})) + pageSize - 1) / pageSize * pageSize
	SlotsSize   = slots * slotSize
)

// unused is the length of a slot without an unwritten message.
const unused = ^uint32(0)

// KeepMemory returns memory in these parts, which outlive the process. fresh says that they
// have nothing from an earlier process.
func KeepMemory(headers, controls, messages []byte, fresh bool) *Memory {
	m := &Memory{
		slots: messages, kept: true,
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
	m.held = m.Unwritten()
	m.point()
	m.filled = slots
	m.touch()
	return m
}

// Unwritten returns how many messages of an earlier process are in the memory.
func (m *Memory) Unwritten() (n int) {
	for n < len(m.headers) && m.headers[n].length <= slotSize {
		n++
	}
	return n
}

// Mark makes the memory note the Number of the intake whose messages it has.
func (m *Memory) Mark(number *uint64) { m.mark = number }

// hold prepares for messages that the intake reads: others' that are not written would be
// overwritten.
func (m *Memory) hold(i *Intake) {
	if !m.kept {
		return
	}
	if m.held > 0 {
		taker := i.taker
		if m.holder != nil {
			taker = m.holder.taker
		}
		taker.Flush(time.Now())
	}
	if m.holder = i; m.mark != nil {
		*m.mark = i.Number
	}
}

// Forget records that the messages that this intake has read are written.
func (i *Intake) Forget() {
	if m := i.memory; m.holder == nil || m.holder == i {
		m.Forget()
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
	m.held = 0
}

// touch allocates the first page of each slot: a process that is killed while the kernel
// allocates it would lose the message.
func (m *Memory) touch() {
	for i := range slots {
		atomic.OrUint32((*uint32)(unsafe.Pointer(&m.slots[i*slotSize])), 0) // writes without a change
	}
}
