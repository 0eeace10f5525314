package receiver

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

// enterRoot makes the directory this process's root, which until pivot_root(2)
// of the container is the host's, and leaves nothing that leads out of it.
func enterRoot(dir int) error {
	err := unix.Fchdir(dir)
	if err == nil {
		err = unix.Chroot(".")
	}
	if err == nil {
		err = unix.Chdir("/")
	}
	if err == nil {
		err = unix.Close(dir)
	}
	if err == nil {
		err = ownNull()
	}
	if err != nil {
		return fmt.Errorf("enter the container's root: %w", err)
	}
	return nil
}

// ownNull makes standard input, output and error the container's /dev/null:
// whoever can open those of the host's could change its mode.
func ownNull() error {
	fd, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	if err = file.CheckNull(fd); errors.Is(err, file.ErrType) {
		err = errors.New(os.DevNull + " is not the null device")
	}
	for std := 0; std <= 2 && err == nil; std++ {
		err = unix.Dup3(fd, std, 0)
	}
	return errors.Join(err, unix.Close(fd))
}
