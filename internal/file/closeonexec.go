package file

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// firstFD is the first descriptor after standard input, output and error.
const firstFD = 3

// CloseOnExec marks every descriptor except standard input, output and error, so that files
// that this process inherited do not reach the receiver: runtimes leak files into hooks, and
// wait until they are closed.
func CloseOnExec() error {
	err := unix.CloseRange(firstFD, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	return CloseOnExecEach() // close_range(2) is in Linux 5.9, its flag in 5.11
}

// CloseOnExecEach is CloseOnExec for kernels without close_range(2).
func CloseOnExecEach() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("cannot list the open files: %w", err)
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= firstFD {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
