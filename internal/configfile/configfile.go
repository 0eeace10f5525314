// Package configfile owns the files that "devlog-hook config" prints: their text for this
// machine, and their place in a directory.
package configfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"devlog/hooks"
	"devlog/internal/usage"
)

// File is a configuration file.
type File struct{ Name, Text string }

// Of returns the files of the kind, for programs in the directory bin and for the server
// (hooks.FileFor), and advice for the user, or "".
func Of(kind hooks.Kind, bin, server string) (files []File, advice string, err error) {
	for _, name := range kind.Files {
		var text string
		if kind.Ships {
			if text, err = hooks.FileFor(name, server); err != nil {
				err = usage.Error{Err: err}
			}
		} else {
			text, err = hooks.File(name, bin)
		}
		if err == nil && (kind.Name == containerd2 || kind.Name == containerd1) {
			text, advice, err = askContainerd().with(kind.Name, text)
		}
		if err != nil {
			return nil, "", err
		}
		files = append(files, File{name, text})
	}
	return files, advice, nil
}

// Write writes the file to the directory, which it creates if it does not exist. The file is
// complete, or not there.
func (f File) Write(dir string) error {
	mode := os.FileMode(0o644)
	if strings.HasPrefix(f.Text, "#!") {
		mode = 0o755
	}
	failed := func(err error) error {
		var path *os.PathError
		if errors.As(err, &path) { // the path is a temporary one
			err = path.Err
		}
		return fmt.Errorf("cannot write %s to %s: %w", f.Name, dir, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err // it names the directory
	}
	temp, err := os.CreateTemp(dir, ".devlog-")
	if err != nil {
		return failed(err)
	}
	_, err = temp.WriteString(f.Text)
	if err = errors.Join(err, temp.Chmod(mode), temp.Close()); err == nil {
		err = os.Rename(temp.Name(), filepath.Join(dir, f.Name))
	}
	if err != nil {
		_ = os.Remove(temp.Name()) // the first error is the one to report
		return failed(err)
	}
	return nil
}
