// Package lost owns the repair of containers whose sockets the host's service has lost, because it
// was stopped or no service manager kept them. A file for each container records how it was
// repaired, and at its next start the service has the hook do that again.
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
	"devlog/internal/safepath"
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

// open opens the directory of the container's file, and returns the file's name. It refuses a
// directory that others may write to: they could have made links in it.
func open(dir string, number uint64) (safepath.Folder, string, error) {
	d, name, err := safepath.New(filepath.Join(dir, strconv.FormatUint(number, 10)), filepath.Dir(dir)).Folder()
	if err != nil {
		return d, "", err
	}
	st, err := d.Stat(".")
	if err == nil && (int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0) {
		err = unix.EPERM
	}
	if err != nil {
		d.Close()
		return d, "", fmt.Errorf("%s is open to others: %w", dir, err)
	}
	return d, name, nil
}

// Save writes the file of the container with that number in the directory, in one step.
func Save(dir string, number uint64, s Saved) error {
	if err := save(dir, number, s); err != nil {
		return fmt.Errorf("cannot save the description of a container: %w", err)
	}
	return nil
}

// makeDir creates the directory if it does not exist.
func makeDir(dir string) error {
	err := os.MkdirAll(filepath.Dir(dir), 0o755)
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if errors.Is(err, os.ErrExist) {
		err = nil
	}
	return err
}

func save(dir string, number uint64, s Saved) error {
	text, err := json.Marshal(s)
	if err == nil {
		err = makeDir(dir)
	}
	if err != nil {
		return err
	}
	d, name, err := open(dir, number)
	if err != nil {
		return err
	}
	defer d.Close()
	temporary := name + ".new"
	_ = d.Remove(temporary) // of a service that was killed
	fd, err := d.Open(temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), temporary)
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.Rename(temporary, name)
	}
	if err != nil {
		_ = d.Remove(temporary)
	}
	return err
}

// Unsave removes the file of that container. A missing file is no error.
func Unsave(dir string, number uint64) error {
	d, name, err := open(dir, number)
	if err == nil {
		err = d.Remove(name)
		d.Close()
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot remove the description of a container: %w", err)
	}
	return nil
}

// Numbers returns the numbers of the containers that have a file in the directory.
func Numbers(dir string) (numbers []uint64, err error) {
	d, _, err := open(dir, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the descriptions of containers: %w", err)
	}
	defer d.Close()
	names, err := d.Names()
	for _, text := range names {
		if n, nerr := strconv.ParseUint(text, 10, 64); nerr == nil && n <= maxNumber { // else it was not finished
			numbers = append(numbers, n)
		}
	}
	return numbers, err
}

// Read returns what the file of the container has. Without one the error is os.ErrNotExist.
func Read(dir string, number uint64) (s Saved, err error) {
	d, name, err := open(dir, number)
	if err != nil {
		return s, err
	}
	defer d.Close()
	fd, err := d.Open(name, unix.O_RDONLY, 0)
	if err != nil {
		return s, err
	}
	text, err := file.ReadAll(os.NewFile(uintptr(fd), name), maxSaved)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return s, fmt.Errorf("cannot read the description of a container, %s: %w", filepath.Join(dir, name), err)
	}
	return s, nil
}
