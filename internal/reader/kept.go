package reader

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"devlog/internal/batch"
	"devlog/internal/counters"
	"devlog/internal/memfd"
)

// Messages are received into memory that the watcher keeps, so that a killed reader's loss is
// counted: the kernel writes each message there while it removes it from a socket's queue. The
// containers' counts are there too.

// Kept is that memory.
type Kept struct {
	head    *head
	memory  *batch.Memory
	records map[uint64]*record // by container
	free    []*record
	all     []record
}

// head is the beginning of the memory.
type head struct {
	magic uint64
	marks batch.Marks
	// used is how many records were in use at the same time, at most.
	used uint64
}

// record is what is kept of a container.
type record struct {
	id uint64 // 0 if it is free
	// lost are messages that a killed reader had read and not passed on, and that are not
	// counted yet.
	lost uint64
	// pending are messages that the outputs accepted and have not written.
	pending uint64
	counts  counters.Tally
}

const (
	keptName  = "devlogd-batch"
	keptMagic = 0x64766c6f67640102
	headersAt = 4 << 10
	controlAt = headersAt + batch.HeadersSize
	slotsAt   = controlAt + batch.ControlSize
	recordsAt = slotsAt + batch.SlotsSize
	// maxRecords is for how many containers counts are kept.
	maxRecords = 1 << 14
	keptSize   = recordsAt + maxRecords*int(unsafe.Sizeof(record{}))
)

// MakeKept makes the memory. The watcher passes it to each reader. A reader that was taken over can
// neither seal nor shorten it: later ones could not use it, and the service manager keeps it.
func MakeKept() (fd int, err error) {
	if fd, err = memfd.Create(keptName, memfd.Data); err == nil {
		err = unix.Ftruncate(fd, int64(keptSize))
	}
	if err == nil {
		err = memfd.Seal(fd, unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		return -1, fmt.Errorf("cannot make memory that outlives a reader: %w", err)
	}
	return fd, nil
}

// OpenKept uses the memory.
func OpenKept(fd int) (*Kept, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	if err == nil && st.Size < int64(keptSize) { // of another version
		err = unix.Ftruncate(fd, int64(keptSize))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use the memory that outlives a reader: %w", err)
	}
	m, err := unix.Mmap(fd, 0, keptSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("cannot map the memory that outlives a reader: %w", err)
	}
	_ = unix.Madvise(m, unix.MADV_NOHUGEPAGE)
	k := &Kept{head: (*head)(unsafe.Pointer(&m[0])), records: map[uint64]*record{}}
	k.all = unsafe.Slice((*record)(unsafe.Pointer(&m[recordsAt])), maxRecords)
	fresh := k.head.magic != keptMagic
	if fresh {
		*k.head = head{magic: keptMagic}
	}
	k.memory = batch.Keep(m[headersAt:controlAt], m[controlAt:slotsAt], m[slotsAt:recordsAt], &k.head.marks, fresh)
	k.head.used = min(k.head.used, maxRecords)
	for i := range k.all[:k.head.used] {
		switch r := &k.all[i]; {
		case fresh || r.id == 0:
			*r = record{}
			k.free = append(k.free, r)
		default:
			k.records[r.id] = r
		}
	}
	if n := k.memory.Lost(); n > 0 {
		if r := k.record(k.head.marks.Number); r != nil {
			r.lost += n // before the memory is cleared: a kill in between counts them twice rather than never
		}
	}
	k.memory.Forget()
	return k, nil
}

// Memory is what messages are received into.
func (k *Kept) Memory() *batch.Memory { return k.memory }

// record returns the record of a container, which is made if it is missing; nil if there are too many.
func (k *Kept) record(id uint64) *record {
	r := k.records[id]
	switch {
	case r != nil || id == 0:
		return r
	case len(k.free) > 0:
		r, k.free = k.free[len(k.free)-1], k.free[:len(k.free)-1]
	case k.head.used < maxRecords:
		r = &k.all[k.head.used]
		k.head.used++
	default:
		return nil
	}
	*r = record{id: id}
	k.records[id] = r
	return r
}

// drop forgets a container.
func (k *Kept) drop(id uint64) {
	if r := k.records[id]; r != nil {
		delete(k.records, id)
		*r = record{}
		k.free = append(k.free, r)
	}
}
