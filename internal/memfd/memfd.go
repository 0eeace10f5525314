// Package memfd owns files in memory (memfd_create(2)): made, sealed, named.
package memfd

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Use says whether a file in memory is a program or data.
type Use int

// A Program may be executed. Data may not, where the kernel can tell (Linux 6.3).
const (
	Program Use = unix.MFD_EXEC
	Data    Use = unix.MFD_NOEXEC_SEAL
)

// Prefix begins what /proc/PID/fd and /proc/PID/exe show for a file in memory. Its
// name follows.
const Prefix = "/memfd:"

// maxName is how long a name can be (memfd_create(2)).
const maxName = 249

// Create makes an empty file in memory that can be sealed, and returns its descriptor
// (close on exec). A name that is too long is cut.
func Create(name string, use Use) (int, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	name = name[:min(len(name), maxName)]
	fd, err := unix.MemfdCreate(name, flags|int(use))
	if errors.Is(err, unix.EINVAL) { // Linux before 6.3 does not know the difference
		fd, err = unix.MemfdCreate(name, flags)
	}
	return fd, err
}

// sealTime is how long the kernel may hold on to a page of the file, to move it, say.
const sealTime = 2 * time.Second

// Seal adds seals to a file in memory (F_ADD_SEALS of fcntl(2)). While a page of it is
// in use the kernel answers EBUSY (memfd_wait_for_pins in mm/memfd.c): Seal tries again
// for two seconds.
func Seal(fd, seals int) error {
	for deadline := time.Now().Add(sealTime); ; time.Sleep(time.Millisecond) {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
	}
}
