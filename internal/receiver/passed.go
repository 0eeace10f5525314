package receiver

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/handover"
)

// fileID is which file it is.
type fileID file.ID

func idOf(st *unix.Stat_t) fileID { return fileID(file.IDOf(st)) }

const (
	// ownPrefix begins the names that are the repair's own. They are removed by
	// the receiver that the record names, whoever wrote the files last.
	ownPrefix = ".devlog-"
	// maxCleanups is how many names to remove are remembered.
	maxCleanups = 128
)

// cleanup is a passed name in a directory, to be removed at the end.
type cleanup struct {
	dir   int
	name  string
	flags int
	id    fileID // of the file when it was passed; zero if there was none
}

// lookup says which file has the name now; zero if none has.
func (p *cleanup) lookup() (id fileID, mode uint32) {
	var st unix.Stat_t
	if unix.Fstatat(p.dir, p.name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return fileID{}, 0
	}
	return idOf(&st), st.Mode & unix.S_IFMT
}

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
	ours := slices.DeleteFunc(slices.Clone(r.cleanups), func(p *cleanup) bool { return p.isOwn() && !r.notedIn(p.dir) })
	for _, p := range ours {
		if p.removes() {
			_ = unix.Unlinkat(p.dir, p.name, p.flags) // we are ending; there is nobody to tell
		}
	}
}

// notedIn reports whether the record in the directory names this receiver, maybe
// as what it was before it was killed.
func (r *receiver) notedIn(dir int) bool {
	return r.self.notedIn(dir) || slices.ContainsFunc(r.was, func(p process) bool { return p.notedIn(dir) })
}

// dirID is which directory the name is in, and whether that still has a name.
func (p *cleanup) dirID() (id fileID, exists bool) {
	var st unix.Stat_t
	if unix.Fstat(p.dir, &st) != nil {
		return fileID{}, false
	}
	return idOf(&st), st.Nlink > 0
}

// onlyKeeps says that there is nothing to receive from.
func onlyKeeps(o *options, files []handover.File) bool {
	root := false
	for _, f := range files {
		if isSocket(f.Name) {
			return false
		}
		root = root || f.Name == handover.NameRoot
	}
	return root && len(o.command) > 0 && len(o.listen) == 0
}

// isSocket says that a file passed with this name is a socket to receive from.
func isSocket(name string) bool {
	switch name {
	case handover.NameReady, handover.NameInit, handover.NameRoot, handover.NameReceiver, handover.NameCheck, handover.NameChroot:
		return false
	}
	return !strings.HasPrefix(name, handover.NameUnlink) && !strings.HasPrefix(name, handover.NameRmdir)
}

// taken is what was passed at one time.
type taken struct {
	sockets  []*socket
	cleanups []*cleanup
	root     int // or -1
}

// take sorts passed files by their use.
func (r *receiver) take(files []handover.File) (taken, error) {
	t := taken{root: -1}
	for _, f := range files {
		unlink, isUnlink := strings.CutPrefix(f.Name, handover.NameUnlink)
		rmdir, isRmdir := strings.CutPrefix(f.Name, handover.NameRmdir)
		p := &cleanup{dir: f.FD, name: unlink}
		if isRmdir {
			p.name, p.flags = rmdir, unix.AT_REMOVEDIR
		}
		switch {
		case f.Name == handover.NameInit:
			r.init = f.FD
		case f.Name == handover.NameRoot:
			t.root = f.FD
		case isUnlink, isRmdir:
			if strings.Contains(p.name, "/") {
				return t, fmt.Errorf("use passed descriptor %d (%s): %q is not a name in a directory", f.FD, f.Name, p.name)
			}
			p.id, _ = p.lookup()
			t.cleanups = append(t.cleanups, p)
		case isSocket(f.Name):
			s, err := inheritSocket(f.FD, f.Name)
			if err != nil {
				return t, err
			}
			t.sockets = append(t.sockets, s)
		}
	}
	t.pair()
	return t, nil
}

// pair finds the sockets' names: the kernel knows only the one that a socket
// was bound with, and it was renamed since. Sockets and their names are passed
// in the same order.
func (t *taken) pair() {
	next := 0
	for _, p := range t.cleanups {
		if _, mode := p.lookup(); mode == unix.S_IFSOCK && next < len(t.sockets) {
			t.sockets[next].at, t.sockets[next].id = p, p.id
			next++
		}
	}
}

// addCleanups has the names removed at the end, before those passed earlier, as
// they may be in a directory of these. A name that was passed earlier is
// replaced, and those that went with their directory are forgotten, so that
// repairs without end do not need descriptors without end.
func (r *receiver) addCleanups(t taken) {
	type key struct {
		dir   fileID
		name  string
		flags int
	}
	seen := map[key]*cleanup{}
	var list []*cleanup
	drop := map[*cleanup]*cleanup{} // with what replaces it
	sockets := append(slices.Clone(t.sockets), r.sockets...)
	for _, p := range append(t.cleanups, r.cleanups...) {
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
			if s.at == p && by != nil && by.id == s.id {
				s.at = by
			} else if s.at == p {
				s.at = nil
			}
		}
		_ = unix.Close(p.dir) // it was only a place
	}
}
