package receiver

import (
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/intake"
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
func (r *receiver) removeCleanups() {
	// Decided for all of them first, for the record is one of them.
	// Another receiver that replaced this one needs the link that leads to its socket.
	replaced := slices.ContainsFunc(r.cleanups, func(p *cleanup) bool { return p.isOwn() && !r.notedIn(p.dir) })
	ours := slices.DeleteFunc(slices.Clone(r.cleanups), func(p *cleanup) bool {
		_, mode := p.lookup()
		return p.isOwn() && !r.notedIn(p.dir) || replaced && mode == unix.S_IFLNK
	})
	for _, p := range ours {
		if p.removes() {
			_ = unix.Unlinkat(p.dir, p.name, p.flags) // we are ending; there is nobody to tell
		}
	}
}

// notedIn reports whether the record in the directory names this receiver, maybe
// as what it was before it was killed.
func (r *receiver) notedIn(dir int) bool {
	return r.self.notedIn(dir) || slices.ContainsFunc(r.previousIDs, func(p process) bool { return p.notedIn(dir) })
}

// dirID is which directory the name is in, and whether that still has a name.
func (p *cleanup) dirID() (id file.ID, exists bool) {
	var st unix.Stat_t
	if unix.Fstat(p.dir, &st) != nil {
		return file.ID{}, false
	}
	return file.IDOf(&st), st.Nlink > 0
}

// onlyKeeps says that there is nothing to receive from.
func onlyKeeps(o *options, files []handover.File) bool {
	root := false
	for _, f := range files {
		if handover.IsSocket(f.Name) {
			return false
		}
		root = root || f.Name == handover.NameRoot
	}
	return root && len(o.command) > 0 && len(o.listen) == 0
}

// socket is a socket to receive from.
type socket struct {
	*intake.Socket
	at  *cleanup // of a passed one: its name; nil if that is not known
	run int      // number of the repair that handed it over
}

// inherited is what the receiver was given at one time.
type inherited struct {
	sockets  []*socket
	cleanups []*cleanup
	root     int // or -1
}

// inherit makes what the receiver works with of what it was given.
func (r *receiver) inherit(d *handover.Description) (inherited, error) {
	in := inherited{root: d.Files.Root}
	if d.Files.Init >= 0 {
		r.init = d.Files.Init
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
func (r *receiver) addCleanups(in inherited) {
	type key struct {
		dir   file.ID
		name  string
		flags int
	}
	seen := map[key]*cleanup{}
	var list []*cleanup
	drop := map[*cleanup]*cleanup{} // with what replaces it
	sockets := append(slices.Clone(in.sockets), r.sockets...)
	for _, p := range append(in.cleanups, r.cleanups...) {
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
	r.cleanups = list
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
