package batch

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
	HeadersSize = (Slots*int(unsafe.Sizeof(mmsghdr{})) + pageSize - 1) / pageSize * pageSize
	ControlSize = (Slots*int(unsafe.Sizeof(control{})) + pageSize - 1) / pageSize * pageSize
	SlotsSize   = Slots * SlotSize
)

// unused is the length of a slot without an unwritten message.
const unused = ^uint32(0)

// Keep returns memory in these parts, which outlive the process. fresh says that no earlier process did.
func Keep(headers, controls, messages []byte, marks *Marks, fresh bool) *Memory {
	m := &Memory{
		slots: messages, marks: marks, kept: true,
		headers: unsafe.Slice((*mmsghdr)(unsafe.Pointer(&headers[0])), Slots),
		control: unsafe.Slice((*control)(unsafe.Pointer(&controls[0])), Slots),
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
	m.filled = Slots
	m.touch()
	return m
}

// unwritten returns how many messages of an earlier process are in the memory.
func (m *Memory) unwritten() (n int) {
	for n < len(m.headers) && m.headers[n].length <= SlotSize {
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
		data, _ := m.Message(0)
		// Messages end with one of the two, or begin with the third (RFC 6587).
		n = 1 + uint64(max(bytes.Count(data, []byte{'\n'}), bytes.Count(data, []byte{0}), bytes.Count(data, []byte{'<'})))
	}
	return n + m.marks.Entries
}

// Holder is who has read the messages in the memory. Its values can be compared.
type Holder interface {
	// Flush writes the messages. It is called before they are overwritten.
	Flush(now time.Time)
	// Settle is Flush at the start of an event.
	Settle(now time.Time)
}

// Hold prepares for messages that the holder reads; see Marks for its number. stream says that
// they are a stream's. Unwritten messages of another one are written first, because they would
// be overwritten.
func (m *Memory) Hold(by Holder, number uint64, stream bool) {
	if !m.kept {
		return
	}
	if m.holder != nil && (m.held > 0 || m.marks.Entries > 0) {
		m.holder.Flush(time.Now())
	}
	m.holder, m.marks.Number, m.marks.Stream = by, number, 0
	if stream {
		m.marks.Stream = 1
	}
}

// Kept returns whether the memory outlives the process.
func (m *Memory) Kept() bool { return m.kept }

// Holder returns who has unwritten messages in it; nil for nobody.
func (m *Memory) Holder() Holder {
	if m.held == 0 {
		return nil
	}
	return m.holder
}

// HoldEntries records how many entries of the journal the holder has read.
func (m *Memory) HoldEntries(n uint64) { m.marks.Entries = n }

// ForgetBy records that the messages that this holder has read are written.
func (m *Memory) ForgetBy(h Holder) {
	if m.holder == h {
		m.Forget()
	}
}

// Leave is ForgetBy for a holder that ends.
func (m *Memory) Leave(h Holder) {
	if m.holder == h {
		m.Forget()
		m.holder = nil
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
	for i := range Slots {
		atomic.OrUint32((*uint32)(unsafe.Pointer(&m.slots[i*SlotSize])), 0) // writes without a change
	}
}
