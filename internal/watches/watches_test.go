package watches

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNote(t *testing.T) {
	event := func(wd int, mask uint32, name string) []byte {
		raw := make([]byte, unix.SizeofInotifyEvent, 64)
		binary.NativeEndian.PutUint32(raw, uint32(wd))
		binary.NativeEndian.PutUint32(raw[4:], mask)
		if name != "" {
			name += strings.Repeat("\x00", 16-len(name))
		}
		binary.NativeEndian.PutUint32(raw[12:], uint32(len(name)))
		return append(raw, name...)
	}
	for _, tt := range []struct {
		events         []byte
		changed, named bool
	}{
		{nil, false, false},
		{event(1, unix.IN_CREATE, "log"), true, true},
		{event(1, unix.IN_CREATE, "other"), true, false},
		{event(2, unix.IN_DELETE, "log"), true, false},
		{event(3, unix.IN_ATTRIB, ""), true, true},
		{append(event(1, unix.IN_DELETE, "log2"), event(1, unix.IN_MOVED_TO, "log")...), true, true},
		{event(-1, unix.IN_Q_OVERFLOW, ""), true, true},
		{event(1, unix.IN_IGNORED, ""), false, false},
		{append(event(3, unix.IN_DELETE_SELF, ""), event(3, unix.IN_IGNORED, "")...), true, true},
		{event(2, unix.IN_UNMOUNT, ""), true, false},
		{event(4, unix.IN_ATTRIB, ""), false, false}, // another set's
		{event(1, unix.IN_CREATE, "log")[:15], false, false},
	} {
		woken := false
		i := NewInstance(nil)
		s := i.NewSet(func() { woken = true })
		s.list, s.before = []watched{{1, "log", true}, {2, "log", false}}, []watched{{3, "", true}}
		i.sets = []*Set{s}
		if i.note(tt.events); s.Changed != tt.changed || s.Named != tt.named || woken != tt.changed {
			t.Errorf("%q: changed %v, named %v, woken %v", tt.events, s.Changed, s.Named, woken)
		}
	}
}

// watcher is a set and a directory that it watches.
type watcher struct {
	*Set
	t   *testing.T
	dir int
}

func newWatcher(t *testing.T, i *Instance, path string) *watcher {
	t.Helper()
	dir, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{i.NewSet(func() {}), t, dir}
	t.Cleanup(func() {
		w.Close()
		_ = unix.Close(dir)
	})
	if err := w.Open(); err != nil {
		t.Fatal(err)
	}
	return w
}

// renew watches the name only.
func (w *watcher) renew(name string) {
	w.t.Helper()
	w.Changed, w.Named = false, false
	w.Renew()
	if err := w.Add(w.dir, name, true); err != nil {
		w.t.Fatal(err)
	}
	w.Trim()
}

// want reads the events, of which one must have come or not.
func (w *watcher) want(what string, changed bool) {
	w.t.Helper()
	if w.Read(); w.Changed != changed || w.Named != changed {
		w.t.Errorf("%s: changed %t, named %t, want %t", what, w.Changed, w.Named, changed)
	}
}

// Sets share the instance, and the watch of a file. Each hears of changes until it renews its
// watches without the file, or is closed.
func TestShared(t *testing.T) {
	path := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	name := func(n string) string { return filepath.Join(path, n) }
	must(os.WriteFile(name("log"), nil, 0o600))
	must(os.WriteFile(name("other"), nil, 0o600))
	opened := 0
	i := NewInstance(func(int, func()) error { opened++; return nil })
	a, b, c := newWatcher(t, i, path), newWatcher(t, i, path), newWatcher(t, i, path)
	for _, w := range []*watcher{a, b, c} {
		w.renew("log")
	}
	if opened != 1 || a.list[0].wd != b.list[0].wd {
		t.Errorf("%d instances, watches %v and %v", opened, a.list, b.list)
	}
	c.Close()
	a.renew("other")
	a.renew("other") // events of the watches before no longer count; b keeps the watch
	must(os.Rename(name("log"), name("old")))
	must(os.WriteFile(name("log"), nil, 0o600))
	a.want("log is replaced, a watches other", false)
	b.want("log is replaced", true)
	if c.Changed {
		t.Error("a closed set hears of changes")
	}
	b.renew("log")
	must(os.Remove(name("log")))
	b.want("log is removed", true)
	b.renew("log") // the directory
	must(os.Remove(name("other")))
	a.want("other is removed", true)
	b.Close()
	if must(a.Open()); opened != 1 || i.fd < 0 {
		t.Errorf("the instance is closed, or another one of %d", opened)
	}
	if a.Close(); i.fd >= 0 {
		t.Error("the last set leaves the instance open")
	}
	if must(a.Open()); opened != 2 {
		t.Errorf("it was opened %d times", opened)
	}
}
