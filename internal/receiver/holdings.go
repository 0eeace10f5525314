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
	"devlog/internal/record"
	"devlog/internal/router"
)

const (
	// ownPrefix begins the names that belong to the repair. The receiver that the record names
	// removes them, whoever wrote the files last.
	ownPrefix = ".devlog-"
	// maxCleanups is how many names to remove are kept.
	maxCleanups = 192
)

// cleanup is a name in a directory, to be removed at the end.
type cleanup struct {
	dir   int
	name  string
	flags int
	id    file.ID // of the file when the name was passed; zero for none
}

// lookup returns the file that has the name now; zero for none.
func (p *cleanup) lookup() (id file.ID, mode uint32) { return file.Named(p.dir, p.name) }

// removes returns whether the name may still have to be removed: it has the same file as when
// it was passed.
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

// removeCleanups removes the names.
func (h *holdings) removeCleanups() {
	// Decide for all names first: the record is one of them. A receiver that replaced this one
	// needs the link to its socket.
	replaced := slices.ContainsFunc(h.cleanups, func(p *cleanup) bool { return p.isOwn() && !h.notedIn(p.dir) })
	ours := slices.DeleteFunc(slices.Clone(h.cleanups), func(p *cleanup) bool {
		_, mode := p.lookup()
		return p.isOwn() && !h.notedIn(p.dir) || replaced && mode == unix.S_IFLNK
	})
	for _, p := range ours {
		if p.removes() {
			_ = unix.Unlinkat(p.dir, p.name, p.flags) // the receiver ends, and nobody can be told
		}
	}
}

// notedIn returns whether the record in the directory names this receiver, or a process that
// it was before a kill.
func (h *holdings) notedIn(dir int) bool {
	return h.self.NotedIn(dir) || slices.ContainsFunc(h.previousIDs, func(p record.Process) bool { return p.NotedIn(dir) })
}

// dirID returns the directory of the name, and whether it still has a name itself.
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
	at  *cleanup // its name; nil if not known
	run int      // number of the repair that made it
}

// holdings are the files that a receiver was given, and its earlier processes.
type holdings struct {
	sockets     []*socket
	cleanups    []*cleanup // to remove at the end, in this order
	init        int        // pidfd of the container's first process, or -1
	root        int        // its root directory, or -1; a watcher closes it
	self        record.Process
	previousIDs []record.Process // that this receiver was before it was killed
}

// Take makes the receiver use the files.
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

// inherit makes the receiver's sockets and cleanups from the files.
func (h *holdings) inherit(d *handover.Description) (inherited, error) {
	in := inherited{}
	if d.Files.Init >= 0 {
		h.init = d.Files.Init
	}
	for _, p := range d.Cleanups {
		in.cleanups = append(in.cleanups, &cleanup{dir: p.Dir, name: string(p.Name), flags: p.Flags, id: p.ID})
	}
	now := time.Now()
	for _, s := range d.Sockets {
		passed, err := intake.Inherit(s.FD)
		if err != nil {
			return in, err
		}
		k := &socket{Socket: passed, run: s.Run}
		k.Path, k.ID, k.Journal = string(s.Path), s.ID, s.Journal
		if s.Cleanup >= 0 {
			k.at = in.cleanups[s.Cleanup]
		}
		k.SetDebt(s.Debt, now)
		in.sockets = append(in.sockets, k)
	}
	return in, nil
}

// addCleanups adds names to remove, before earlier ones, whose directories they may be in. It
// replaces a name that was added earlier, and drops those whose directory is gone, so that
// repairs without end do not need descriptors without end.
func (h *holdings) addCleanups(in inherited) {
	type key struct {
		dir   file.ID
		name  string
		flags int
	}
	seen := map[key]*cleanup{}
	var list []*cleanup
	drop := map[*cleanup]*cleanup{} // with their replacements
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
		_ = unix.Close(p.dir) // it only named a directory
	}
}

// close closes the files that belong to the receiver.
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

// Init returns the pidfd of the container's first process, or -1.
func (r *Receiver) Init() int { return r.init }

// Needs is what a receiver accesses after its start.
type Needs struct {
	Outputs []router.Route
	Metrics string   // the file; empty for none
	Sockets []string // paths to remove at the end
	Names   []Name   // names to remove at the end
	Removes bool     // there are names to remove, now or later
	// Root is the container's root directory, where Command repairs; -1 without a command.
	Root    int
	Command []string
}

// Name is a name in a directory.
type Name struct {
	Dir   int
	Name  string
	IsDir bool
}

// Needs returns what the receiver accesses later, for a sandbox.
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
