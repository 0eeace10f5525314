// Package memfd makes and seals files in memory (memfd_create(2)).
package memfd

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Use is the use of a file in memory.
type Use int

// A Program may be executed. Data may not, if the kernel supports that (Linux 6.3).
const (
	Program Use = unix.MFD_EXEC
	Data    Use = unix.MFD_NOEXEC_SEAL
)

// Prefix begins the name of a file in memory in /proc/PID/fd and /proc/PID/exe.
const Prefix = "/memfd:"

// maxName is the longest name in bytes (memfd_create(2)).
const maxName = 249

// Create makes an empty file in memory that can be sealed, and returns its descriptor (close
// on exec). It cuts a name that is too long.
func Create(name string, use Use) (int, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	name = name[:min(len(name), maxName)]
	fd, err := unix.MemfdCreate(name, flags|int(use))
	if errors.Is(err, unix.EINVAL) { // Linux before 6.3 has no such flag
		fd, err = unix.MemfdCreate(name, flags)
	}
	return fd, err
}

// sealTime is how long the kernel may use a page of the file, for example to move it.
const sealTime = 2 * time.Second

// Seal adds seals to a file in memory (F_ADD_SEALS of fcntl(2)). While the kernel uses a page
// of the file, it returns EBUSY (memfd_wait_for_pins in mm/memfd.c): Seal retries for two
// seconds.
func Seal(fd, seals int) error {
	for deadline := time.Now().Add(sealTime); ; time.Sleep(time.Millisecond) {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
	}
}
