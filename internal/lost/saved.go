// Package lost owns what is done for containers whose sockets the host's service has lost: it was
// stopped, or no service manager kept them. A file for each container says how it was repaired,
// and at its next start the service has the hook do that again.
package lost

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/record"
)

// Dir is the directory of the files. Only root can enter it.
const Dir = "/run/devlog/containers"

const (
	// maxSaved is the longest file, in bytes.
	maxSaved = 256 << 10
	// maxNumber is the highest number of a container.
	maxNumber = 1 << 62
)

// Saved describes a container in a file.
type Saved struct {
	// Init is the container's first process.
	Init record.Process `json:"init"`
	// Repair is what the hook needs to repair it again: nodecall.Request.Repair.
	Repair json.RawMessage `json:"repair"`
}

// open opens the directory, after it was made if that is wanted. Somebody who may write to /run
// could have put another one there, and links into it.
func open(dir string, create bool) (fd int, err error) {
	if create {
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return -1, err
		}
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return -1, err
		}
	}
	if fd, err = file.Open(dir, unix.O_RDONLY|unix.O_NOFOLLOW, 0, file.Directory); err != nil {
		return -1, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && (int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0) {
		err = unix.EPERM
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("%s is open to others: %w", dir, err)
	}
	return fd, nil
}

func name(number uint64) string { return strconv.FormatUint(number, 10) }

// Save writes the file of the container with that number in the directory, in one step.
func Save(dir string, number uint64, s Saved) error {
	if err := save(dir, number, s); err != nil {
		return fmt.Errorf("cannot save the description of a container: %w", err)
	}
	return nil
}

func save(dir string, number uint64, s Saved) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	at, err := open(dir, true)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	temporary := name(number) + ".new"
	_ = unix.Unlinkat(at, temporary, 0) // of a service that was killed
	fd, err := file.OpenIn(at, temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600, file.Regular)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), temporary)
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = unix.Renameat(at, temporary, at, name(number))
	}
	if err != nil {
		_ = unix.Unlinkat(at, temporary, 0)
	}
	return err
}

// Unsave removes the file of that container. One that is missing is no error.
func Unsave(dir string, number uint64) error {
	at, err := open(dir, false)
	if err == nil {
		err = unix.Unlinkat(at, name(number), 0)
		unix.Close(at)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot remove the description of a container: %w", err)
	}
	return nil
}

// Numbers returns the numbers of the containers that have a file in the directory.
func Numbers(dir string) (numbers []uint64, err error) {
	at, err := open(dir, false)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the descriptions of containers: %w", err)
	}
	f := os.NewFile(uintptr(at), dir)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	for _, text := range names {
		if n, nerr := strconv.ParseUint(text, 10, 64); nerr == nil && n <= maxNumber { // else it was not finished
			numbers = append(numbers, n)
		}
	}
	return numbers, err
}

// Read returns what the file of the container has. Without one the error is os.ErrNotExist.
func Read(dir string, number uint64) (s Saved, err error) {
	at, err := open(dir, false)
	if err != nil {
		return s, err
	}
	defer unix.Close(at)
	fd, err := file.OpenIn(at, name(number), unix.O_RDONLY, 0, file.Regular)
	if err != nil {
		return s, &os.PathError{Op: "open", Path: filepath.Join(dir, name(number)), Err: err}
	}
	text, err := file.ReadAll(os.NewFile(uintptr(fd), name(number)), maxSaved)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return s, fmt.Errorf("cannot read the description of a container, %s: %w", filepath.Join(dir, name(number)), err)
	}
	return s, nil
}
