package lost

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockTime is how long an earlier service may need to end: its reader writes what it has for five seconds.
const lockTime = 7 * time.Second

// Lock waits until no process of an earlier service has the directory's lock (flock(2)), and takes it.
// The processes of the service share the result: two that read would write to the same logs. Without a
// service manager, a reader may outlive its service, which was killed. The error is os.ErrDeadlineExceeded
// if one does not end; the result is open then, without the lock.
func Lock(dir string) (*os.File, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
	}
	f := os.NewFile(uintptr(fd), dir)
	for end := time.Now().Add(lockTime); ; time.Sleep(10 * time.Millisecond) {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			_ = f.Close()
			return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
		case time.Now().After(end):
			return f, os.ErrDeadlineExceeded
		}
	}
}
