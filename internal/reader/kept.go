package reader

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"devlog/internal/intake"
	"devlog/internal/memfd"
)

// Messages are received into memory that the watcher keeps, so that a killed reader's loss is
// counted: the kernel writes each message there while it removes it from a socket's queue.

// Kept is that memory.
type Kept struct {
	head   *head
	memory *intake.Memory
	// lost are the messages of one container that the reader before had read and not passed on,
	// and pending those of any container that its outputs had not written.
	lost      int
	container uint64
	pending   uint64
}

// head is the beginning of the memory.
type head struct {
	magic uint64
	// container is the one whose messages are in the memory.
	container uint64
	// pending are messages that outputs accepted and have not written.
	pending uint64
}

const (
	keptName  = "devlogd-batch"
	keptMagic = 0x64766c6f67640101
	headersAt = 4 << 10
	controlAt = headersAt + intake.HeadersSize
	slotsAt   = controlAt + intake.ControlSize
	keptSize  = slotsAt + intake.SlotsSize
)

// MakeKept makes the memory. The watcher passes it to each reader.
func MakeKept() (fd int, err error) {
	if fd, err = memfd.Create(keptName, memfd.Data); err == nil {
		err = unix.Ftruncate(fd, int64(keptSize))
	}
	if err != nil {
		return -1, fmt.Errorf("make memory that outlives a reader: %w", err)
	}
	return fd, nil
}

// OpenKept uses the memory.
func OpenKept(fd int) (*Kept, error) {
	if err := unix.Ftruncate(fd, int64(keptSize)); err != nil { // of another version
		return nil, fmt.Errorf("use the memory that outlives a reader: %w", err)
	}
	m, err := unix.Mmap(fd, 0, keptSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the memory that outlives a reader: %w", err)
	}
	_ = unix.Madvise(m, unix.MADV_NOHUGEPAGE)
	k := &Kept{head: (*head)(unsafe.Pointer(&m[0]))}
	fresh := k.head.magic != keptMagic
	k.memory = intake.KeepMemory(m[headersAt:controlAt], m[controlAt:slotsAt], m[slotsAt:], fresh)
	if !fresh {
		k.lost, k.container, k.pending = k.memory.Unwritten(), k.head.container, k.head.pending
	}
	k.memory.Forget()
	*k.head = head{magic: keptMagic}
	k.memory.Mark(&k.head.container)
	return k, nil
}

// Memory is what messages are received into.
func (k *Kept) Memory() *intake.Memory { return k.memory }

// Pending returns how many messages, of any container, the outputs of the reader before had not
// written.
func (k *Kept) Pending() uint64 { return k.pending }

// lostOf returns how many messages of the container the reader before had read and not passed on.
func (k *Kept) lostOf(id uint64) (n int) {
	if id == k.container {
		n, k.lost = k.lost, 0
	}
	return n
}
