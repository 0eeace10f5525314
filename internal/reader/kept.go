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
	// pending are messages, of any container, that the outputs of the reader before had not
	// written, or that another reader had lost and no container claimed.
	pending uint64
}

// head is the beginning of the memory.
type head struct {
	magic uint64
	// container is the one whose messages are in the memory.
	container uint64
	// pending are messages that outputs accepted and have not written.
	pending uint64
	// lost are messages of the container loser that were read and not passed on when a reader
	// was killed, and that are not counted yet.
	lost, loser uint64
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
	before := *k.head
	if fresh {
		before = head{}
	}
	k.pending = before.pending
	now := head{magic: keptMagic, lost: before.lost, loser: before.loser}
	if n := uint64(k.memory.Unwritten()); n > 0 && !fresh {
		if now.lost > 0 && now.loser != before.container {
			k.pending += now.lost
			now.lost = 0
		}
		now.lost, now.loser = now.lost+n, before.container
	}
	*k.head = now // before the memory: a kill in between counts them twice, not never
	k.memory.Forget()
	k.memory.Mark(&k.head.container)
	return k, nil
}

// Memory is what messages are received into.
func (k *Kept) Memory() *intake.Memory { return k.memory }

// Pending returns how many messages, of any container, the outputs of the reader before had not
// written.
func (k *Kept) Pending() uint64 { return k.pending }

// lostOf returns how many messages of the container the reader before had read and not passed on.
func (k *Kept) lostOf(id uint64) int {
	if id != k.head.loser {
		return 0
	}
	return int(k.head.lost)
}

// counted records that they are counted.
func (k *Kept) counted() { k.head.lost, k.head.loser = 0, 0 }
