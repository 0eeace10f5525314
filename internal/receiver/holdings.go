package receiver

import (
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/eventloop"
	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/intake"
	"devlog/internal/router"
)

const (
	// ownPrefix begins the names that are the repair's own. They are removed by
	// the receiver that the record names, whoever wrote the files last.
	ownPrefix = ".devlog-"
	// maxCleanups is how many names to remove are remembered.
	maxCleanups = 192
)

// cleanup is a passed name in a directory, to be removed at the end.
type cleanup struct {
	dir   int
	name  string
	flags int
	id    file.ID // of the file when it was passed; zero if there was none
}

// lookup says which file has the name now; zero if none has.
func (p *cleanup) lookup() (id file.ID, mode uint32) { return file.Named(p.dir, p.name) }

// removes says that there is something that is ours to remove, or may be: the
// name is still that of the passed file.
func (p *cleanup) removes() bool {
	id, mode := p.lookup()
	switch {
	case p.flags == unix.AT_REMOVEDIR:
		return mode == unix.S_IFDIR
	case p.isOwn():
		return true
	}
	return mode != 0 && id == p.id
}

func (p *cleanup) isOwn() bool {
	return p.flags != unix.AT_REMOVEDIR && strings.HasPrefix(p.name, ownPrefix)
}

// removeCleanups removes the names that are ours to remove.
func (h *holdings) removeCleanups() {
	// Decided for all of them first, for the record is one of them.
	// Another receiver that replaced this one needs the link that leads to its socket.
	replaced := slices.ContainsFunc(h.cleanups, func(p *cleanup) bool { return p.isOwn() && !h.notedIn(p.dir) })
	ours := slices.DeleteFunc(slices.Clone(h.cleanups), func(p *cleanup) bool {
		_, mode := p.lookup()
		return p.isOwn() && !h.notedIn(p.dir) || replaced && mode == unix.S_IFLNK
	})
	for _, p := range ours {
		if p.removes() {
			_ = unix.Unlinkat(p.dir, p.name, p.flags) // we are ending; there is nobody to tell
		}
	}
}

// notedIn reports whether the record in the directory names this receiver, maybe
// as what it was before it was killed.
func (h *holdings) notedIn(dir int) bool {
	return h.self.notedIn(dir) || slices.ContainsFunc(h.previousIDs, func(p processID) bool { return p.notedIn(dir) })
}

// dirID is which directory the name is in, and whether that still has a name.
func (p *cleanup) dirID() (id file.ID, exists bool) {
	var st unix.Stat_t
	if unix.Fstat(p.dir, &st) != nil {
		return file.ID{}, false
	}
	return file.IDOf(&st), st.Nlink > 0
}

// socket is a socket to receive from.
type socket struct {
	*intake.Socket
	at  *cleanup // of a passed one: its name; nil if that is not known
	run int      // number of the repair that handed it over
}

// holdings are what a receiver was given, and which processes it was.
type holdings struct {
	sockets     []*socket
	cleanups    []*cleanup // what is to be removed at the end, in this order
	init        int        // pidfd of the container's first process, or -1
	root        int        // its root directory, or -1; the watcher's once there is one
	self        processID
	previousIDs []processID // that this receiver was before it was killed
}

// Take has the receiver use what it was given.
func (r *Receiver) Take(d *handover.Description) error {
	fresh, err := r.inherit(d)
	if err != nil {
		return err
	}
	if d.Files.Root >= 0 {
		r.root = d.Files.Root
	}
	r.addCleanups(fresh)
	r.sockets = append(fresh.sockets, r.sockets...)
	return nil
}

// inherited is what the receiver was given at one time.
type inherited struct {
	sockets  []*socket
	cleanups []*cleanup
}

// inherit makes what the receiver works with of what it was given.
func (h *holdings) inherit(d *handover.Description) (inherited, error) {
	in := inherited{}
	if d.Files.Init >= 0 {
		h.init = d.Files.Init
	}
	for _, p := range d.Places {
		in.cleanups = append(in.cleanups, &cleanup{dir: p.Dir, name: string(p.Name), flags: p.Flags, id: p.ID})
	}
	now := time.Now()
	for _, s := range d.Sockets {
		passed, err := intake.Inherit(s.FD)
		if err != nil {
			return in, err
		}
		k := &socket{Socket: passed, run: s.Run}
		k.Path, k.ID = string(s.Path), s.ID
		if s.Place >= 0 {
			k.at = in.cleanups[s.Place]
		}
		k.SetDebt(s.Debt, now)
		in.sockets = append(in.sockets, k)
	}
	return in, nil
}

// addCleanups has the names removed at the end, before those passed earlier, as
// they may be in a directory of these. A name that was passed earlier is
// replaced, and those that went with their directory are forgotten, so that
// repairs without end do not need descriptors without end.
func (h *holdings) addCleanups(in inherited) {
	type key struct {
		dir   file.ID
		name  string
		flags int
	}
	seen := map[key]*cleanup{}
	var list []*cleanup
	drop := map[*cleanup]*cleanup{} // with what replaces it
	sockets := append(slices.Clone(in.sockets), h.sockets...)
	for _, p := range append(in.cleanups, h.cleanups...) {
		id, exists := p.dirID()
		k := key{id, p.name, p.flags}
		used := p.removes() || slices.ContainsFunc(sockets, func(s *socket) bool { return s.at == p })
		if !exists || !used || seen[k] != nil || len(list) == maxCleanups {
			drop[p] = seen[k]
			continue
		}
		seen[k] = p
		list = append(list, p)
	}
	h.cleanups = list
	for p, by := range drop {
		for _, s := range sockets {
			if s.at == p && by != nil && by.id == s.ID {
				s.at = by
			} else if s.at == p {
				s.at = nil
			}
		}
		_ = unix.Close(p.dir) // it was only a place
	}
}

// close closes what is held and not another's.
func (h *holdings) close(loop *eventloop.Loop) {
	if h.init >= 0 {
		_ = loop.Remove(h.init)
		file.Shut(&h.init)
	}
	file.Shut(&h.root)
	for _, p := range h.cleanups {
		file.Shut(&p.dir)
	}
}

// Init is the pidfd of the container's first process, or -1.
func (r *Receiver) Init() int { return r.init }

// Needs is what a receiver reaches for after its start.
type Needs struct {
	Outputs []router.Route
	Metrics string   // the file; empty for none
	Sockets []string // paths that are removed at the end
	Names   []Name   // the same
	Removes bool     // something is removed at the end, known by now or not
	// Root is the container's root directory, in which Command repairs; -1 if it does not.
	Root    int
	Command []string
}

// Name is a name in a directory.
type Name struct {
	Dir   int
	Name  string
	IsDir bool
}

// Needs returns what the receiver reaches for later, such as for a sandbox to allow it.
func (r *Receiver) Needs() Needs {
	n := Needs{Outputs: r.router.Routes, Metrics: r.config.Metrics, Root: -1, Removes: len(r.cleanups)+len(r.sockets) > 0}
	for _, s := range r.sockets {
		if s.Path != "" {
			n.Sockets = append(n.Sockets, s.Path)
		}
	}
	for _, p := range r.cleanups {
		n.Names = append(n.Names, Name{p.dir, p.name, p.flags == unix.AT_REMOVEDIR})
	}
	if r.watcher != nil {
		n.Root, n.Command = r.watcher.Root(), r.config.Repair.Command
	}
	return n
}
