// Package cleanup owns the names that a receiver removes at its end: those that a repair made
// for it, as long as the record beside them says that it is still the receiver.
package cleanup

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/record"
)

const (
	// ownPrefix begins the names that belong to the repair. The receiver that the record names
	// removes them, whoever wrote the files last.
	ownPrefix = ".devlog-"
	// Max is how many names to remove are kept.
	Max = 192
)

// Name is a name in a directory, to be removed at the end.
type Name struct {
	Dir   int
	Name  string
	Flags int     // of unlinkat(2)
	ID    file.ID // of the file when the name was passed; zero for none

	dir file.ID // of the directory; zero before the first call of DirID
}

// lookup returns the file that has the name now; zero for none.
func (p *Name) lookup() (id file.ID, mode uint32) { return file.Named(p.Dir, p.Name) }

// removes returns whether the name may still have to be removed: it has the same file as when
// it was passed.
func (p *Name) removes() bool {
	id, mode := p.lookup()
	switch {
	case p.Flags == unix.AT_REMOVEDIR:
		return mode == unix.S_IFDIR
	case p.isOwn():
		return true
	}
	return mode != 0 && id == p.ID
}

func (p *Name) isOwn() bool {
	return p.Flags != unix.AT_REMOVEDIR && strings.HasPrefix(p.Name, ownPrefix)
}

// DirID returns the directory of the name; zero if it is not known. It makes a system call once:
// a node compares each directory with those of all its containers.
func (p *Name) DirID() file.ID {
	if p.dir == (file.ID{}) {
		p.dir, _ = p.statDir()
	}
	return p.dir
}

// statDir returns the directory of the name, and whether it still has a name itself.
func (p *Name) statDir() (id file.ID, exists bool) {
	var st unix.Stat_t
	if unix.Fstat(p.Dir, &st) != nil {
		return file.ID{}, false
	}
	return file.IDOf(&st), st.Nlink > 0
}

// Remove removes the names that are still those of the receiver.
func Remove(list []*Name, of *Identity) {
	// Decide for all names first: the record is one of them. A receiver that replaced this one
	// needs the link to its socket.
	replaced := slices.ContainsFunc(list, func(p *Name) bool { return p.isOwn() && !of.notedIn(p.Dir) })
	ours := slices.DeleteFunc(slices.Clone(list), func(p *Name) bool {
		_, mode := p.lookup()
		return p.isOwn() && !of.notedIn(p.Dir) || replaced && mode == unix.S_IFLNK
	})
	for _, p := range ours {
		if p.removes() {
			_ = unix.Unlinkat(p.Dir, p.Name, p.Flags) // the receiver ends, and nobody can be told
		}
	}
}

// Merge adds fresh names before earlier ones, whose directories they may be in. It replaces a
// name that was added earlier, and drops those that are not used and whose file or directory is
// gone, so that repairs without end do not need descriptors without end. It returns the dropped
// names, with their replacements or nil. The caller closes their directories.
func Merge(fresh, earlier []*Name, used func(*Name) bool) (list []*Name, dropped map[*Name]*Name) {
	type key struct {
		dir   file.ID
		name  string
		flags int
	}
	seen := map[key]*Name{}
	dropped = map[*Name]*Name{}
	for _, p := range append(slices.Clone(fresh), earlier...) {
		id, exists := p.statDir()
		k := key{id, p.Name, p.Flags}
		if !exists || !p.removes() && !used(p) || seen[k] != nil || len(list) == Max {
			dropped[p] = seen[k]
			continue
		}
		seen[k] = p
		list = append(list, p)
	}
	return list, dropped
}

// Identity is the processes that a receiver is and was: records name one of them.
type Identity struct {
	Self record.Process
	// previous are the processes that it was before it was killed.
	previous []record.Process
}

// notedIn returns whether the record in the directory names one of the processes.
func (i *Identity) notedIn(dir int) bool {
	return i.Self.NotedIn(dir) || slices.ContainsFunc(i.previous, func(p record.Process) bool { return p.NotedIn(dir) })
}

// IDs returns all processes, for UsePrevious of the next.
func (i *Identity) IDs() (ids []string) {
	for _, p := range append(slices.Clone(i.previous), i.Self) {
		ids = append(ids, p.String())
	}
	return ids
}

// UsePrevious adds the processes that the receiver was.
func (i *Identity) UsePrevious(ids []string) {
	for _, text := range ids {
		if p, ok := record.ParseProcess(text); ok && p != i.Self {
			i.previous = append(i.previous, p)
		}
	}
}

// Forget drops the processes that no record in the names' directories names: each restart adds
// one. Without any record it keeps the first.
func (i *Identity) Forget(list []*Name) {
	noted := slices.DeleteFunc(slices.Clone(i.previous), func(p record.Process) bool {
		return !slices.ContainsFunc(list, func(at *Name) bool { return p.NotedIn(at.Dir) })
	})
	if len(noted) > 0 {
		i.previous = noted
	} else {
		i.previous = i.previous[:min(1, len(i.previous))]
	}
}
