package nodecall

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"devlog/internal/record"
)

// SavedDir has a file for each container of the node, by which one that has lost the containers'
// sockets has them repaired again: without a service manager that keeps sockets, or after the
// service was stopped. Only root can enter it.
const SavedDir = "/run/devlog/containers"

// Saved describes a container in a file.
type Saved struct {
	// Init is the container's first process.
	Init record.Process `json:"init"`
	// Repair is what the hook needs to repair it again: Request.Repair.
	Repair json.RawMessage `json:"repair"`
}

// Save writes the file of the container with that number in the directory, in one step.
func Save(dir string, number uint64, s Saved) error {
	text, err := json.Marshal(s)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	file := savedFile(dir, number)
	if err == nil {
		err = os.WriteFile(file+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		return fmt.Errorf("cannot save the description of a container: %w", err)
	}
	return nil
}

// Unsave removes the file of that container; one that is missing is no error.
func Unsave(dir string, number uint64) error {
	if err := os.Remove(savedFile(dir, number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the description of a container: %w", err)
	}
	return nil
}

func savedFile(dir string, number uint64) string {
	return filepath.Join(dir, strconv.FormatUint(number, 10))
}

// AllSaved returns what the directory has, by number. The error joins those of single files, which
// are left out.
func AllSaved(dir string) (map[uint64]Saved, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	all := map[uint64]Saved{}
	for _, e := range entries {
		number, nerr := strconv.ParseUint(e.Name(), 10, 64)
		if nerr != nil {
			continue // it was not finished
		}
		var s Saved
		text, rerr := os.ReadFile(filepath.Join(dir, e.Name()))
		if rerr == nil {
			rerr = json.Unmarshal(text, &s)
		}
		if rerr != nil {
			err = errors.Join(err, fmt.Errorf("cannot read the description of a container, %s: %w", filepath.Join(dir, e.Name()), rerr))
			continue
		}
		all[number] = s
	}
	return all, err
}
