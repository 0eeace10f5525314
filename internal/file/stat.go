package file

import "golang.org/x/sys/unix"

// ID identifies a file: device and inode number. While a handle holds the file, no other file
// gets the same ID.
type ID struct {
	Dev, Ino uint64
}

// IDOf returns the ID in the result of stat(2). On MIPS the device there has 32 bits, like the
// result of DeviceOf.
func IDOf(st *unix.Stat_t) ID {
	return ID{Dev: uint64(st.Dev), Ino: st.Ino} //nolint:unconvert // the type depends on the architecture
}

// Named returns the file with this name in the directory, and its type (S_IFMT of inode(7)).
// Both are zero if no file has the name, or it cannot be examined.
func Named(dir int, name string) (id ID, kind uint32) {
	var st unix.Stat_t
	if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return ID{}, 0
	}
	return IDOf(&st), st.Mode & unix.S_IFMT
}

// DeviceOf returns the device of a device file, for unix.Major and unix.Minor.
func DeviceOf(st *unix.Stat_t) uint64 {
	return uint64(st.Rdev) //nolint:unconvert // as in IDOf
}

// Root returns this process's root directory; zero if it cannot be examined.
func Root() ID {
	var st unix.Stat_t
	if unix.Stat("/", &st) != nil {
		return ID{}
	}
	return IDOf(&st)
}

// Shut closes the descriptor unless it is -1, and makes it -1.
func Shut(fd *int) {
	if *fd >= 0 {
		_ = unix.Close(*fd)
		*fd = -1
	}
}

// CloseNow closes a descriptor whose file somebody else has opened. If its close waits, as that
// of a socket does for SO_LINGER (socket(7)), the scheduler's signal ends that within about
// 50 ms: the call is raw, and to the scheduler the goroutine runs for too long.
func CloseNow(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// CloseAll closes the descriptors.
func CloseAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
