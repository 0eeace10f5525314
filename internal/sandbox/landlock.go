package sandbox

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Access is a set of file operations (LANDLOCK_ACCESS_FS_* of landlock(7)).
type Access uint64

// The sets that rules allow.
const (
	// Read allows reading files and listing directories.
	Read Access = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	// Execute allows executing files, which includes reading them.
	Execute Access = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE
	// Write allows writing to existing files.
	Write Access = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	// Device allows controlling a device (ioctl(2)).
	Device Access = unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	// Files allows creating, renaming and removing regular files, and creating directories.
	Files Access = unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_DIR |
		unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_REFER
	// Unlink and Rmdir allow removing names.
	Unlink Access = unix.LANDLOCK_ACCESS_FS_REMOVE_FILE
	Rmdir  Access = unix.LANDLOCK_ACCESS_FS_REMOVE_DIR
	// Names allows creating, renaming and removing files of every type: a repair renames whatever
	// is at /dev/log. It does not allow opening files, which could be devices; making a device
	// needs CAP_MKNOD.
	Names Access = Files | Unlink | Rmdir | unix.LANDLOCK_ACCESS_FS_READ_DIR |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_SYM |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK
)

// ofFile is what a rule for a file that is not a directory can allow.
const ofFile = Read&^unix.LANDLOCK_ACCESS_FS_READ_DIR | Execute | Write | Device

// Rule allows access below a directory, or to one file. FD is a handle (O_PATH) on it.
type Rule struct {
	FD     int
	Access Access
}

// ruleset is struct landlock_ruleset_attr. Fields that a kernel does not know must be zero;
// then it accepts the longer structure.
type ruleset struct{ fs, net, scoped uint64 }

const (
	createVersion = 1 // LANDLOCK_CREATE_RULESET_VERSION
	createErrata  = 2 // LANDLOCK_CREATE_RULESET_ERRATA
	// scopeErratum: a thread may signal other threads of its process (Linux 6.15 and stable
	// releases).
	scopeErratum = 1 << 1
	// maxABI is the newest version of Landlock that this package supports. It does not use
	// later additions.
	maxABI = 7
)

// ABI returns the version of the kernel's Landlock; 0 for none.
func ABI() int { return direct.abi() }

func (k *kernel) abi() int {
	n, err := k.one(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, createVersion)
	if err != 0 {
		return 0
	}
	return int(n)
}

// handled returns the ruleset of everything that this version of Landlock can deny.
func handled(abi int, errata uintptr) (r ruleset) {
	const first = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1
	r.fs = first
	for _, later := range []struct {
		abi int
		add func()
	}{
		{2, func() { r.fs |= unix.LANDLOCK_ACCESS_FS_REFER }},
		{3, func() { r.fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE }},
		{4, func() { r.net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP }},
		{5, func() { r.fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV }},
		{6, func() {
			r.scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
			if errata&scopeErratum != 0 { // without it, Go's scheduler could not signal its threads
				r.scoped |= unix.LANDLOCK_SCOPE_SIGNAL
			}
		}},
	} {
		if abi >= later.abi {
			later.add()
		}
	}
	return r
}

// landlock confines every thread to the rules. It also denies signals and connections to
// processes outside. It returns the version of Landlock that was used.
func (k *kernel) landlock(rules []Rule) (int, error) {
	abi := min(k.abi(), maxABI)
	if abi == 0 {
		return 0, fmt.Errorf("cannot use Landlock: %w", errors.ErrUnsupported)
	}
	errata, err := k.one(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, createErrata)
	if err != 0 {
		errata = 0
	}
	arg.ruleset = handled(abi, errata)
	fd, err := k.one(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&arg.ruleset)), unsafe.Sizeof(arg.ruleset), 0)
	if err != 0 {
		return 0, fmt.Errorf("cannot use Landlock: %w", err)
	}
	defer unix.Close(int(fd))
	for _, r := range rules {
		if err := k.allow(fd, r, arg.ruleset.fs); err != nil {
			return 0, err
		}
	}
	if err := k.all(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); err != 0 {
		return 0, fmt.Errorf("cannot use Landlock: %w", err)
	}
	return abi, nil
}

func (k *kernel) allow(ruleset uintptr, r Rule, handled uint64) error {
	access := uint64(r.Access) & handled
	var st unix.Stat_t
	if err := unix.Fstat(r.FD, &st); err != nil {
		return fmt.Errorf("cannot use Landlock: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= uint64(ofFile)
	}
	if access == 0 {
		return nil
	}
	arg.path = unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(r.FD)}
	if _, err := k.one(unix.SYS_LANDLOCK_ADD_RULE, ruleset, unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&arg.path))); err != 0 {
		return fmt.Errorf("cannot use Landlock: %w", err)
	}
	return nil
}
