package nri

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Install copies the programs that hooks need from one directory to another, which it
// creates. It replaces each program in one step: a running one cannot be written to
// (ETXTBSY of execve(2)), and a hook that starts meanwhile finds the old or the new one.
func Install(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	// The receiver first: a new hook may need the new receiver.
	for _, name := range []string{receiverName, hookName} {
		if err := install(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return fmt.Errorf("cannot install %s: %w", name, err)
		}
	}
	return nil
}

func install(from, to string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	f, err := os.CreateTemp(filepath.Dir(to), ".devlog-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = io.Copy(f, source)
	if err = errors.Join(err, f.Chmod(0o755), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), to)
}
