package rootfs

import (
	"fmt"
	"runtime"

	"devlog/internal/file"
)

// As calls f on its own thread with the file system identity of that user and group
// (setfsuid(2)). On a file system of a user namespace only they can create files. With 0 and 0
// it just calls f.
func As(uid, gid int, f func() error) error {
	if uid == 0 && gid == 0 {
		return f()
	}
	return elsewhere(func() error {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := file.ActAs(uid, gid); err != nil {
			return fmt.Errorf("cannot act as user %d, group %d, the container's root: %w", uid, gid, err)
		}
		return f()
	})
}

// AsSelf calls f with this program's own identity, also inside As.
func AsSelf(f func() error) error {
	return elsewhere(f)
}

// elsewhere calls f in another goroutine. A panic there becomes a panic here.
func elsewhere(f func() error) (err error) {
	done := make(chan any)
	go func() {
		defer func() { done <- recover() }()
		err = f()
	}()
	if reason := <-done; reason != nil {
		panic(reason)
	}
	return err
}
