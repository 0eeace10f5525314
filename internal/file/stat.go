package file

import "golang.org/x/sys/unix"

// ID tells one file from another: device and inode number. While the file is
// held by a handle no other one gets the same.
type ID struct {
	Dev, Ino uint64
}

// IDOf returns the ID that is in what stat(2) says. On MIPS the device there has
// 32 bits, like that of DeviceOf.
func IDOf(st *unix.Stat_t) ID {
	return ID{Dev: uint64(st.Dev), Ino: st.Ino} //nolint:unconvert // not everywhere of that type
}

// Named returns which file has this name in the directory, and its type (S_IFMT of
// inode(7)); zero if none has, or it cannot be known.
func Named(dir int, name string) (id ID, kind uint32) {
	var st unix.Stat_t
	if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return ID{}, 0
	}
	return IDOf(&st), st.Mode & unix.S_IFMT
}

// DeviceOf returns the device that a device file is of, for unix.Major and
// unix.Minor.
func DeviceOf(st *unix.Stat_t) uint64 {
	return uint64(st.Rdev) //nolint:unconvert // as in IDOf
}

// Root returns which directory is this process's root; the zero ID if that cannot be
// found out.
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
