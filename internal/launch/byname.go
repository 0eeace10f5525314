package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/containers"
	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/hook"
	"devlog/internal/safepath"
	"devlog/internal/target"
)

// ByNameDir is the directory, beside the containers' directories of logs, that has a link
// to each by the name that people know. The receiver removes its link at its end.
const ByNameDir = "by-name"

// nameLink is the link to a container's directory of logs.
type nameLink struct {
	links *os.File // the directory that has it
	name  string
	logs  string // the directory of logs
}

// linkByName makes the link for the target's receiver, which people call so, in place of the
// one of an earlier container with that name. It returns nil without a name, or without logs
// on the host.
func (r *Receiver) linkByName(t *target.Target, called string) (*nameLink, error) {
	if r.logs == "" || t.Host || t.ReceiverInside() {
		return nil, nil
	}
	logs := filepath.Join(r.logs, r.Name)
	writesThere := func(rule string) bool { return strings.Contains(rule, logs+"/") }
	if r.Config == "" && !slices.ContainsFunc(r.Rules, writesThere) {
		return nil, nil
	}
	return makeNameLink(logs, called)
}

// called is the name that people know the container by; empty if it has none, and for a
// receiver in the container, which knows no engine.
func (r *Receiver) called(t *target.Target) string {
	if r.ByName != "" || t.PID <= 0 || t.Host || t.ReceiverInside() {
		return r.ByName
	}
	c, _ := containers.This().OfProcess(t.PID)
	return c.Called()
}

// makeNameLink makes the link with that name to the directory of logs, which need not exist
// yet. It returns nil for a name that cannot be a link's.
func makeNameLink(logs, name string) (l *nameLink, err error) {
	if hook.CheckName(name) != nil || strings.Contains(name, ":") || filepath.Base(logs) == ByNameDir {
		return nil, nil // a colon separates the names of passed files
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot link the log by name: %w", err)
		}
	}()
	all := filepath.Dir(logs)
	dir := filepath.Join(all, ByNameDir)
	if err := os.MkdirAll(all, 0o755); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	// Others may write there: a container with all logs mounted, or a reader that was taken over. Their
	// link would have root make and replace names anywhere.
	fd, err := safepath.Hold(dir, all, file.Directory)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	l = &nameLink{links: os.NewFile(uintptr(fd), dir), name: name, logs: logs}
	if err := l.make(); err != nil {
		l.links.Close()
		return nil, err
	}
	return l, nil
}

// make makes the link, in place of another link with its name.
func (l *nameLink) make() error {
	fd, temporary := int(l.links.Fd()), ".devlog-"+filepath.Base(l.logs)
	if _, kind := file.Named(fd, l.name); kind != 0 && kind != unix.S_IFLNK { // a log of a container called by-name
		return &os.PathError{Op: "replace", Path: filepath.Join(l.links.Name(), l.name), Err: unix.EEXIST}
	}
	if err := unix.Unlinkat(fd, temporary, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	err := unix.Symlinkat(l.to(), fd, temporary)
	if err == nil {
		if err = unix.Renameat(fd, temporary, fd, l.name); err != nil {
			_ = unix.Unlinkat(fd, temporary, 0) // the first error is the one to report
		}
	}
	return err
}

func (l *nameLink) to() string { return filepath.Join("..", filepath.Base(l.logs)) }

// passed is what the receiver gets, to remove the link at its end if it is this one still.
func (l *nameLink) passed() handover.Passed {
	return handover.Passed{File: l.links, Name: handover.NameUnlink + l.name}
}

// close removes the link if there are no logs, as where the rules write elsewhere or the
// receiver has not started.
func (l *nameLink) close() {
	defer l.links.Close()
	if info, err := os.Lstat(l.logs); err == nil && info.IsDir() {
		return
	}
	to := make([]byte, unix.PathMax)
	if n, err := unix.Readlinkat(int(l.links.Fd()), l.name, to); err == nil && string(to[:n]) == l.to() {
		_ = unix.Unlinkat(int(l.links.Fd()), l.name, 0) // if it stays, it only dangles
	}
}
