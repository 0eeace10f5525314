package lost

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
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
	fd, err := file.Open(dir, unix.O_RDONLY|unix.O_NOFOLLOW, 0, file.Directory)
	if err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
	}
	f := os.NewFile(uintptr(fd), dir)
	switch err := file.Lock(fd, lockTime); {
	case err == nil:
		return f, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return f, os.ErrDeadlineExceeded
	default:
		_ = f.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
	}
}
