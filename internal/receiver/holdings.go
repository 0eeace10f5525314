package receiver

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/cleanup"
	"devlog/internal/eventloop"
	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/intake"
	"devlog/internal/router"
)

// socket is a socket to receive from.
type socket struct {
	*intake.Socket
	at  *cleanup.Name // its name; nil if not known
	run int           // number of the repair that made it
}

// holdings are the files that a receiver was given, and its earlier processes.
type holdings struct {
	sockets  []*socket
	cleanups []*cleanup.Name // to remove at the end, in this order
	init     int             // pidfd of the container's first process, or -1
	root     int             // its root directory, or -1; a watcher closes it
	identity cleanup.Identity
}

// Take makes the receiver use the files. After an error they are closed.
func (r *Receiver) Take(d *handover.Description) error {
	fresh, err := r.inherit(d)
	if err != nil {
		file.CloseAll(d.Descriptors())
		r.init = -1
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
	cleanups []*cleanup.Name
}

// inherit makes the receiver's sockets and cleanups from the files.
func (h *holdings) inherit(d *handover.Description) (inherited, error) {
	in := inherited{}
	if d.Files.Init >= 0 {
		h.init = d.Files.Init
	}
	for _, p := range d.Cleanups {
		in.cleanups = append(in.cleanups, &cleanup.Name{Dir: p.Dir, Name: string(p.Name), Flags: p.Flags, ID: p.ID})
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

// addCleanups adds names to remove.
func (h *holdings) addCleanups(in inherited) {
	sockets := append(slices.Clone(in.sockets), h.sockets...)
	list, dropped := cleanup.Merge(in.cleanups, h.cleanups, func(p *cleanup.Name) bool {
		return slices.ContainsFunc(sockets, func(s *socket) bool { return s.at == p })
	})
	h.cleanups = list
	for p, by := range dropped {
		for _, s := range sockets {
			if s.at == p && by != nil && by.ID == s.ID {
				s.at = by
			} else if s.at == p {
				s.at = nil
			}
		}
		_ = unix.Close(p.Dir) // its name was only a directory
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
		file.Shut(&p.Dir)
	}
}

// Sockets returns the sockets.
func (r *Receiver) Sockets() (list []*intake.Socket) {
	for _, s := range r.sockets {
		list = append(list, s.Socket)
	}
	return list
}

// Holds returns whether one of the names is in that directory.
func (r *Receiver) Holds(dir file.ID) bool {
	return slices.ContainsFunc(r.cleanups, func(p *cleanup.Name) bool { return p.DirID() == dir })
}

// Forsake leaves the names to another receiver, or to the repair that made them.
func (r *Receiver) Forsake() {
	for _, s := range r.sockets {
		s.at = nil
	}
	for _, p := range r.cleanups {
		_ = unix.Close(p.Dir)
	}
	r.cleanups = nil
}

// Init returns the pidfd of the container's first process, or -1.
func (r *Receiver) Init() int { return r.init }

// Needs is what a receiver accesses after its start.
type Needs struct {
	Outputs []router.Route
	Dirs    []string // directories in which to make files
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
		n.Names = append(n.Names, Name{p.Dir, p.Name, p.Flags == unix.AT_REMOVEDIR})
	}
	if r.watcher != nil {
		n.Root, n.Command = r.watcher.Root(), r.config.Repair.Command
	}
	return n
}
