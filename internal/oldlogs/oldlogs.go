// Package oldlogs owns the logs of containers that have ended: it removes them after a time.
package oldlogs

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/dirfd"
	"devlog/internal/file"
	"devlog/internal/launch"
	"devlog/internal/running"
)

// inUse is what running receivers use: the files and directories that they have open, and
// the names of their containers.
type inUse struct {
	files map[file.ID]bool
	names map[string]bool
}

// The limits of one run: a container's start waits for it.
const (
	clearEvery  = time.Hour // the shortest time between two runs
	maxLooked   = 10000     // directories to inspect
	maxCleared  = 100       // directories to remove
	maxLogFiles = 1000      // files in a directory; a directory with more is not removed
)

// Names in the directory of logs.
const (
	stampName   = ".devlog-cleared" // its modification time is the time of the last run
	clearPrefix = ".devlog-old-"    // the prefix of a directory that is about to be removed
)

// ParseKeep parses how long to keep logs, such as 30d, 2w or 12h. It returns 0 for "".
func ParseKeep(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	const day = 24 * time.Hour
	for suffix, unit := range map[string]time.Duration{"d": day, "w": 7 * day} {
		if number, ok := strings.CutSuffix(text, suffix); ok {
			if n, err := strconv.ParseUint(number, 10, 32); err == nil && n > 0 && n <= uint64(math.MaxInt64/unit) {
				return time.Duration(n) * unit, nil
			}
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return d, nil
	}
	return 0, fmt.Errorf("%q is not a time: want a number and h, d or w, such as 30d", text)
}

// Clear removes from dir the logs of containers that have ended: directories that no receiver
// uses and whose newest file is older than keep. It removes only regular files, follows no
// link, and does nothing if the last run was less than an hour ago.
func Clear(dir string, keep time.Duration) error { return clearUnused(dir, keep, listInUse) }

func clearUnused(dir string, keep time.Duration, list func() (inUse, error)) (err error) {
	c, err := open(dir, "clear old logs")
	if c == nil {
		return err
	}
	defer c.root.Close()
	c.before = time.Now().Add(-keep)
	if due, err := c.isDue(); err != nil || !due {
		return c.failed(err)
	}
	names, err := c.candidates()
	if err != nil || len(names) == 0 {
		return c.failed(err)
	}
	used, err := list()
	if err != nil {
		return c.failed(err)
	}
	// A receiver may start meanwhile. Rename first: it has then opened the directory by its
	// old name, which the second list shows, or it makes a new one.
	var renamed []string
	for _, name := range names {
		old := name
		if used.names[name] {
			continue
		}
		if !strings.HasPrefix(name, clearPrefix) {
			if old = clearPrefix + name; c.rename(name, old) != nil {
				continue
			}
		}
		renamed = append(renamed, old)
	}
	if used, err = list(); err != nil {
		return c.failed(err)
	}
	var errs []error
	for _, old := range renamed {
		name := strings.TrimPrefix(old, clearPrefix)
		if d := c.inspect(old); d.isOld(c.before) && !d.isUsed(used) && !used.names[name] {
			errs = append(errs, c.remove(old, d))
		} else {
			_ = c.rename(old, name) // if this fails, the next run tries again
		}
	}
	return c.failed(errors.Join(errs...))
}

// RemoveEmpty removes from dir the directory of logs with that name if nothing was logged there
// and no receiver of that name runs.
func RemoveEmpty(dir, name string) error { return removeEmpty(dir, name, listInUse) }

func removeEmpty(dir, name string, list func() (inUse, error)) error {
	c, err := open(dir, "remove an empty directory of logs")
	if c == nil {
		return err
	}
	defer c.root.Close()
	d := c.inspect(name)
	if d.newest.IsZero() || d.size > 0 {
		return nil
	}
	if used, err := list(); err != nil || used.names[name] || d.isUsed(used) {
		return c.failed(err)
	}
	return c.failed(c.remove(name, d))
}

// listInUse returns what the receivers on this host use.
func listInUse() (inUse, error) {
	used := inUse{files: map[file.ID]bool{}, names: map[string]bool{}}
	receivers, err := running.Alike()
	if err != nil {
		return used, err
	}
	seen := map[int]bool{} // a node has many
	for _, r := range receivers {
		if r.OnHost { // what runs in a container does not say which logs the host keeps
			used.names[r.Name] = true
		}
		if seen[r.PID] {
			continue
		}
		seen[r.PID] = true
		ids, err := r.OpenFiles()
		if err != nil {
			return used, err
		}
		for _, id := range ids {
			used.files[id] = true
		}
	}
	return used, nil
}

// clearing is one run.
type clearing struct {
	root   *os.Root
	before time.Time
}

// open opens the directory of logs, to do that; nil if it does not exist or cannot be opened.
func open(dir, do string) (*clearing, error) {
	root, err := os.OpenRoot(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("cannot %s: %w", do, err)
	}
	return &clearing{root: root}, nil
}

func (c *clearing) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot clear old logs in %s: %w", c.root.Name(), err)
}

// isDue returns whether the last run was long enough ago. If so, it records this one.
func (c *clearing) isDue() (bool, error) {
	now := time.Now()
	info, err := c.root.Lstat(stampName)
	if err == nil && now.Sub(info.ModTime()) < clearEvery && !info.ModTime().After(now) {
		return false, nil
	}
	// Truncated, the empty file has a new time.
	f, err := c.root.OpenFile(stampName, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return false, err
	}
	return true, f.Close()
}

// candidates returns the directories that are old enough, at most maxCleared.
func (c *clearing) candidates() (list []string, err error) {
	entries, err := readDir(c.root, maxLooked)
	for _, e := range entries {
		if len(list) == maxCleared {
			break
		}
		if e.IsDir() && e.Name() != launch.ByNameDir && c.inspect(e.Name()).isOld(c.before) {
			list = append(list, e.Name())
		}
	}
	return list, err
}

// logsDir is a container's directory of logs.
type logsDir struct {
	names  []string
	ids    []file.ID // of the directory and its files
	newest time.Time // zero if it holds anything but logs
	size   int64     // of all files
}

func (d logsDir) isOld(before time.Time) bool { return !d.newest.IsZero() && d.newest.Before(before) }

func (d logsDir) isUsed(used inUse) bool {
	for _, id := range d.ids {
		if used.files[id] {
			return true
		}
	}
	return false
}

// inspect reads a directory of logs.
func (c *clearing) inspect(name string) (d logsDir) {
	info, err := c.root.Lstat(name)
	if err != nil || !info.IsDir() {
		return logsDir{}
	}
	sub, err := c.root.OpenRoot(name)
	if err != nil {
		return logsDir{}
	}
	defer sub.Close()
	opened, err := sub.Stat(".")
	if err != nil || !os.SameFile(info, opened) {
		return logsDir{} // it was a link
	}
	entries, err := readDir(sub, maxLogFiles+1)
	if err != nil || len(entries) > maxLogFiles {
		return logsDir{}
	}
	d.ids, d.newest = append(d.ids, idOf(opened)), opened.ModTime()
	for _, e := range entries {
		info, err := sub.Lstat(e.Name()) // Go 1.24's Info looks for it in the working directory
		if err != nil || !info.Mode().IsRegular() {
			return logsDir{}
		}
		d.names = append(d.names, e.Name())
		d.size += info.Size()
		d.ids = append(d.ids, idOf(info))
		if info.ModTime().After(d.newest) {
			d.newest = info.ModTime()
		}
	}
	return d
}

// rename renames a directory. It never replaces another file.
func (c *clearing) rename(from, to string) error {
	f, err := c.root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Renameat2(int(f.Fd()), from, int(f.Fd()), to, unix.RENAME_NOREPLACE)
}

// remove removes the directory, its files, and the links by name that point to it.
func (c *clearing) remove(old string, d logsDir) error {
	var errs []error
	for _, name := range d.names {
		errs = append(errs, c.root.Remove(filepath.Join(old, name)))
	}
	if err := errors.Join(append(errs, c.root.Remove(old))...); err != nil {
		return err
	}
	links, err := c.root.OpenFile(launch.ByNameDir, unix.O_DIRECTORY, 0)
	if err != nil {
		return nil //nolint:nilerr // there are no links
	}
	defer links.Close()
	entries, err := readEntries(links, maxLooked)
	for _, e := range entries {
		if to, lerr := dirfd.Readlink(int(links.Fd()), e.Name()); lerr == nil && to == filepath.Join("..", strings.TrimPrefix(old, clearPrefix)) {
			err = errors.Join(err, c.root.Remove(filepath.Join(launch.ByNameDir, e.Name())))
		}
	}
	return err
}

// readDir returns at most that many entries of the directory.
func readDir(root *os.Root, most int) ([]os.DirEntry, error) {
	f, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readEntries(f, most)
}

func readEntries(dir *os.File, most int) ([]os.DirEntry, error) {
	entries, err := dir.ReadDir(most)
	if len(entries) == 0 {
		err = nil // the end of the directory
	}
	return entries, err
}

func idOf(info os.FileInfo) file.ID {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return file.ID{}
	}
	return file.ID{Dev: uint64(st.Dev), Ino: st.Ino} //nolint:unconvert // the type depends on the architecture
}
