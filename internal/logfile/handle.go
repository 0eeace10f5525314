package logfile

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/safepath"
)

// fdHandle is a file descriptor.
type fdHandle int

// openHandle opens a regular file for appending.
func openHandle(p safepath.Place) (handle, error) {
	flags := unix.O_WRONLY | unix.O_APPEND
	if !inDev(p.Path) {
		flags |= unix.O_CREAT
	}
	fd, err := p.Open(flags, 0o640, file.Regular)
	switch {
	case errors.Is(err, unix.ENOENT) && flags&unix.O_CREAT == 0:
		return nil, fmt.Errorf("cannot open the log file %s: no such device, and no file is made in /dev; hint: name another file in the rule", p.Path)
	case errors.Is(err, file.ErrType) && p.Below != "":
		return nil, fmt.Errorf("cannot open the log file %s: it is not a regular file (no link is followed there); hint: remove it", p.Path)
	case errors.Is(err, file.ErrType):
		return nil, fmt.Errorf("cannot open the log file %s: it is not a regular file; hint: name another file in the rule", p.Path)
	case err != nil:
		return nil, fmt.Errorf("cannot open the log file %s: %w", p.Path, err)
	}
	return fdHandle(fd), nil
}

// inDev returns whether the path is for devices: a regular file there would be in everybody's
// /dev, and gone after a reboot. /dev/shm is for files.
func inDev(path string) bool {
	path = filepath.Clean(path)
	return strings.HasPrefix(path, "/dev/") && !strings.HasPrefix(path, "/dev/shm/")
}

// CheckPath returns what can be known to be wrong with a File's path without opening it.
func CheckPath(path string) error {
	if !inDev(path) {
		return nil
	}
	h, err := openHandle(safepath.New(path, ""))
	if err != nil {
		return err
	}
	return h.Close()
}

func (h fdHandle) Write(p []byte) (int, error) { return unix.Write(int(h), p) }
func (h fdHandle) Sync() error                 { return unix.Fdatasync(int(h)) }
func (h fdHandle) Close() error                { return unix.Close(int(h)) }
func (h fdHandle) Empty() error                { return unix.Ftruncate(int(h), 0) }

// Size returns the file's size in bytes, and whether the file still has a name.
func (h fdHandle) Size() (size int64, named bool) {
	var st unix.Stat_t
	if unix.Fstat(int(h), &st) != nil {
		return 0, true // not known to be removed
	}
	return st.Size, st.Nlink > 0
}

// Is returns whether this file is the one at the place.
func (h fdHandle) Is(p safepath.Place) bool { return p.Is(int(h)) }

// Ended returns whether the file ends with a whole line, as far as it may be read.
func (h fdHandle) Ended() bool {
	size, _ := h.Size()
	if size == 0 {
		return true
	}
	fd, err := file.Open(file.Path(int(h)), unix.O_RDONLY, 0, file.Regular)
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	var last [1]byte
	n, err := unix.Pread(fd, last[:], size-1)
	return err != nil || n < len(last) || last[0] == '\n'
}

// Retract truncates the file if it ends where the last write ended. With O_APPEND that is the
// file's offset.
func (h fdHandle) Retract(n int) bool {
	end, err := unix.Seek(int(h), 0, unix.SEEK_CUR)
	if err != nil {
		return false
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(h), &st); err != nil || st.Size != end {
		return false
	}
	return unix.Ftruncate(int(h), end-int64(n)) == nil
}

// Lock locks the file. It returns false if another process has locked it. On a file system
// without locks it returns true.
func (h fdHandle) Lock() bool {
	return !errors.Is(unix.Flock(int(h), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// Unlock undoes Lock.
func (h fdHandle) Unlock() {
	_ = unix.Flock(int(h), unix.LOCK_UN) // a lock of this process
}

// Like sets the mode and owner of another file, as far as permitted.
func (h fdHandle) Like(other handle) {
	var st unix.Stat_t
	o, ok := other.(fdHandle)
	if !ok || unix.Fstat(int(o), &st) != nil {
		return
	}
	_ = unix.Fchown(int(h), int(st.Uid), int(st.Gid)) // without the privilege there is still a log
	_ = unix.Fchmod(int(h), st.Mode&0o7777)
}
