package rootfs

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
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
		if err := setIdentity(uid, gid); err != nil {
			return err
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

func setIdentity(uid, gid int) error {
	// The group first: without being root it cannot be set any more. Neither
	// call reports errors; a second call returns what has come of the first.
	_, _ = unix.SetfsgidRetGid(gid)
	_, _ = unix.SetfsuidRetUid(uid)
	gotGID, _ := unix.SetfsgidRetGid(-1)
	gotUID, _ := unix.SetfsuidRetUid(-1)
	if gotUID != uid || gotGID != gid {
		return fmt.Errorf("cannot act as user %d, group %d, the container's root: %w", uid, gid, unix.EPERM)
	}
	return nil
}
