package running

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

// OpenFiles returns the receiver's open files; none if it has ended. It fails if this process
// may not see them.
func (r Receiver) OpenFiles() ([]file.ID, error) {
	ids, err := openFileIDs(readerOf(r.PID))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	return ids, err
}

func openFileIDs(pid int) (ids []file.ID, err error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		// The file system may be the container's own, and must not delay this.
		var st unix.Statx_t
		if unix.Statx(unix.AT_FDCWD, filepath.Join(dir, e.Name()), unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &st) == nil {
			ids = append(ids, file.ID{Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino})
		}
	}
	return ids, nil
}
