package sandbox

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

// EnterRoot makes the directory this process's root. Until the container's pivot_root(2), the
// root is the host's. Afterwards no open file leads out of the directory.
func EnterRoot(dir int) error {
	// The container's /proc may be anything, or missing.
	fds, err := unix.Open("/proc/self/fd", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		if err = moveRoot(dir); err == nil {
			err = ownNull(fds)
		}
		err = errors.Join(err, unix.Close(fds))
	}
	if err != nil {
		return fmt.Errorf("cannot enter the container's root: %w", err)
	}
	return nil
}

func moveRoot(dir int) error {
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
	return err
}

// ownNull makes the container's /dev/null standard input, output and error: whoever can open
// the host's could change its mode. fds is a handle of /proc/self/fd.
func ownNull(fds int) error {
	fd, err := file.OpenNullBy(fds)
	if errors.Is(err, file.ErrType) {
		return errors.New(os.DevNull + " is not the null device")
	}
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", os.DevNull, err)
	}
	for std := 0; std <= 2 && err == nil; std++ {
		err = unix.Dup3(fd, std, 0)
	}
	return errors.Join(err, unix.Close(fd))
}
