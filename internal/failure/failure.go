// Package failure owns the notes of hooks that could not repair. Such a hook lets its
// container start; the reason is in a file of lines "TIME [process PID@START]
// devlog-hook: REASON", until a later hook repairs.
package failure

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/changes"
	"devlog/internal/file"
	"devlog/internal/hook"
	"devlog/internal/names"
	"devlog/internal/pidfd"
	"devlog/internal/rootfs"
	"devlog/internal/target"
)

const (
	// notesDir is the directory of the notes, on the host or in the container.
	notesDir = "/run/devlog"
	noteMark = "devlog-hook: "
	// maxNote is the largest size of a note, in bytes.
	maxNote = 16 << 10
	// maxNoteName leaves room for the suffix (NAME_MAX of limits.h is 255).
	maxNoteName = 200
	// maxNotes is how many notes are read in a container, maxHostNotes on the host.
	maxNotes, maxHostNotes = 64, 4096
	// keptNotes is how many notes stay in a directory. A container that has ended leaves
	// its note to be read, and a pod that cannot be repaired makes one at each restart.
	keptNotes = 1000
	// maxReason is how much of a reason is shown, in bytes.
	maxReason = 1 << 10
)

// Failure is why the last hook of a container could not repair it.
type Failure struct {
	At     time.Time `json:"failed_at"`
	Reason string    `json:"reason"`
	// tag is the ProcessTag of the container's first process, or empty.
	tag string
}

// ProcessTag returns text for a note that tells the process from all others, also from a later
// one with the same ID; empty if it has ended.
func ProcessTag(pid int) string {
	started, err := pidfd.StartTime(pid)
	if pid < 1 || err != nil {
		return ""
	}
	return fmt.Sprintf("process %d@%s ", pid, started)
}

// ParentTag returns the ProcessTag of this process's parent, which at createContainer is the
// container's first process. /proc is the host's.
func ParentTag() string {
	pid, err := target.ShownPID(os.Getppid())
	if err != nil {
		return ""
	}
	return ProcessTag(pid)
}

// String returns the end of a sentence about the hook; empty for nil. A container can choose
// the reason, so the caller must escape it.
func (f *Failure) String() string {
	if f == nil {
		return ""
	}
	return "failed at " + f.At.Local().Format(time.DateTime) + ": " + f.Reason
}

// Dirs returns the directories for notes of hooks that run where this process does, best
// first: only root may write to the first one.
func Dirs() []string { return noteDirs(target.RealUID()) }

func noteDirs(uid int) []string {
	dirs := []string{notesDir}
	if uid > 0 {
		dirs = append(dirs, fmt.Sprintf("/run/user/%d/devlog", uid))
	}
	return dirs
}

// noteName returns the file name of the container's note. Bytes of the container's name that
// are not printable ASCII are escaped as "#303".
func noteName(container string) string {
	var b strings.Builder
	for i := range len(container) {
		if c := container[i]; c > ' ' && c <= '~' && c != '/' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "#%03o", c)
		}
	}
	name := b.String()
	return name[:min(len(name), maxNoteName)] + names.NoteSuffix
}

// IsNote returns whether a file with that name, in a directory of private sockets, is a note.
func IsNote(name string) bool { return strings.HasSuffix(name, names.NoteSuffix) }

// Note writes the reason, one line, to a note in the first of the directories in which it can.
// The error says why it can in none. process is the ProcessTag of the container's first
// process, or empty.
func Note(dirs []string, container, process, reason string) error {
	line := time.Now().Format(time.RFC3339) + " " + process + noteMark + reason + "\n"
	var errs []error
	for _, dir := range dirs {
		err := writeNote(dir, noteName(container), line)
		if err == nil {
			prune(dir, keptNotes)
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func writeNote(dir, name, line string) error {
	// The parent is a directory of the system: /run or /run/user/UID.
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	path := filepath.Join(dir, name)
	fd, err := file.Open(path, unix.O_APPEND|unix.O_CREAT|unix.O_WRONLY|unix.O_NOFOLLOW, 0o640, file.Regular)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), path)
	if info, err := f.Stat(); err == nil && info.Size()+int64(len(line)) > maxNote {
		_ = f.Truncate(0) // the line is appended in any case
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}

// prune removes the oldest notes in the directory, of those that it looks at, until that
// many are left. A failure is the next hook's to mend.
func prune(dir string, most int) {
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	defer d.Close()
	entries, _ := d.ReadDir(maxHostNotes)
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return !IsNote(e.Name()) || !e.Type().IsRegular() })
	if len(entries) <= most {
		return
	}
	changed := make(map[string]time.Time, len(entries))
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			changed[e.Name()] = info.ModTime()
		}
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return changed[a.Name()].Compare(changed[b.Name()]) })
	for _, e := range entries[:len(entries)-most] {
		_ = os.Remove(filepath.Join(dir, e.Name()))
	}
}

// Remove removes the container's note from the directories, and directories that are then
// empty.
func Remove(dirs []string, container string) {
	for _, dir := range dirs {
		if os.Remove(filepath.Join(dir, noteName(container))) == nil {
			_ = unix.Rmdir(dir) // usually it is not empty
		}
	}
}

// Of returns the last failure of a hook of the target, a container with that name; nil for
// none. Notes on the host have precedence: in its own root a container can write anything.
func Of(t *target.Target, container string) *Failure {
	if t.Host || t.Inside && t.OnHost() {
		return nil // the notes here belong to containers
	}
	var found *Failure
	if !t.Inside {
		findHostNote(t, container, func(d *rootfs.Dir, name string) bool {
			found = readNote(d, name)
			return found != nil
		})
	}
	if found == nil {
		eachOwnNote(t, func(_ *rootfs.Dir, _ string, f *Failure) {
			if found == nil || f.At.After(found.At) {
				found = f
			}
		})
	}
	return found
}

// Forget removes the notes of the target, a container with that name, after its repair.
func Forget(t *target.Target, container string) {
	if t.Host || t.Inside && t.OnHost() {
		return
	}
	if !t.Inside {
		findHostNote(t, container, func(d *rootfs.Dir, name string) bool { return readNote(d, name) != nil && d.Unlink(name) == nil })
	}
	eachOwnNote(t, func(d *rootfs.Dir, name string, _ *Failure) { _ = d.Unlink(name) }) // if one stays, check shows it again
}

// findHostNote calls f for the names that the target's note may have on the host, until f
// returns true. The hook may have known the container by another name.
func findHostNote(t *target.Target, container string, f func(d *rootfs.Dir, name string) bool) {
	_ = rootfs.AsSelf(func() error { // the container's root may not read there
		root, err := rootfs.Open("/")
		if err != nil {
			return err
		}
		defer root.Close()
		names := []string{noteName(container)}
		if text, err := os.ReadFile("/proc/" + strconv.Itoa(t.PID) + "/cgroup"); err == nil {
			if raw := hook.RawNameFromCgroup(string(text)); raw != "" && raw != container {
				names = append(names, noteName(raw))
			}
		}
		uid := target.RealUID()
		if uid == 0 {
			uid = t.UID
		}
		tag := ProcessTag(t.PID)
		search := func(dir string) error {
			d, err := root.Dir(dir)
			if err != nil {
				return err
			}
			defer d.Close()
			for _, name := range names {
				if f(d, name) {
					return errFound
				}
			}
			all, err := d.Names(maxHostNotes)
			if err != nil || tag == "" {
				return err
			}
			for _, name := range all {
				if note := readNote(d, name); note != nil && note.tag == tag && f(d, name) {
					return errFound
				}
			}
			return nil
		}
		for _, dir := range noteDirs(uid) {
			as := rootfs.AsSelf
			if dir != notesDir && os.Geteuid() == 0 { // the user can have made it a link to anywhere
				as = func(f func() error) error { return rootfs.As(uid, uid, f) }
			}
			if err := as(func() error { return search(dir) }); errors.Is(err, errFound) {
				return nil
			}
		}
		return nil
	})
}

// errFound ends the search for a note.
var errFound = errors.New("found")

// eachOwnNote calls f for the notes in the target's own root.
func eachOwnNote(t *target.Target, f func(d *rootfs.Dir, name string, failure *Failure)) {
	_ = rootfs.As(t.UID, t.GID, func() error {
		d, err := t.Root.Dir(notesDir)
		if err != nil {
			return err
		}
		defer d.Close()
		st, err := d.Self()
		if err != nil || changes.OfHost(d) != nil {
			return err // it is the host's directory, with the notes of all containers
		}
		if !t.Inside {
			if same, err := target.IsHostPath(notesDir, st.ID); err != nil || same {
				return err
			}
		}
		names, err := d.Names(maxNotes)
		for _, name := range names {
			if !IsNote(name) {
				continue
			}
			if failure := readNote(d, name); failure != nil {
				f(d, name, failure)
			}
		}
		return err
	})
}

// readNote reads the last line of a note; nil if the file is not a note.
func readNote(d *rootfs.Dir, name string) *Failure {
	if !IsNote(name) {
		return nil
	}
	data, err := d.ReadFile(name) // only a regular file, up to a limit
	if err != nil {
		return nil
	}
	return parseNote(string(data))
}

// parseNote is readNote for the file's content.
func parseNote(text string) *Failure {
	if len(text) > maxNote {
		return nil
	}
	text = strings.TrimRight(text, "\n")
	line := text[strings.LastIndexByte(text, '\n')+1:]
	at, rest, _ := strings.Cut(line, " ")
	process, reason, ok := strings.Cut(rest, noteMark)
	if !ok || process != "" && !strings.HasPrefix(process, "process ") {
		return nil
	}
	when, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return nil
	}
	if len(reason) > maxReason {
		reason = reason[:maxReason] + "..."
	}
	return &Failure{At: when, Reason: reason, tag: process}
}
