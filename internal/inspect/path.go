package inspect

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/changes"
	"devlog/internal/failure"
	"devlog/internal/names"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
	"devlog/internal/running"
	"devlog/internal/target"
)

// path gathers the facts about a resolved path.
func (i *inspection) path(p *rootfs.Place) (plan.PathFacts, error) {
	f := plan.PathFacts{Path: p.Path, Kind: p.Stat.Kind, ID: p.Stat.ID}
	if p.Blocked != nil {
		f.Problem, f.Unwritable, f.Sharing = p.Blocked.Error(), p.Blocked.Error(), plan.Unknown
		return f, nil //nolint:nilerr // a fact, for the plan
	}
	switch p.Stat.Kind {
	case rootfs.Absent:
		f.Problem = unix.ENOENT.Error()
	case rootfs.Socket:
		l, err := p.Dir.Listening(p.Name)
		if err != nil {
			return f, err
		}
		f.Live = l.Live
		// A stream socket works too: syslog(3) tries it next.
		if l.Err != nil && !errors.Is(l.Err, unix.EPROTOTYPE) {
			f.Problem = l.Err.Error()
		}
	default:
		f.Problem = unix.ECONNREFUSED.Error()
	}
	if p.Dir != nil {
		if r := changes.Read(p.Dir); r != nil && path.Base(r.Socket) == p.Name { // links can give it several paths
			ours := r.MountNS == i.target.MountNS
			// As this program's own user: the container's root cannot see the receiver.
			_ = rootfs.AsSelf(func() error {
				f.Foreign = f.Live && !ours && running.Alive(r, i.target, p.Dir)
				if ours && i.recorded == nil {
					i.recorded = r.Listen
				}
				if ours && !i.facts.Watcher {
					i.facts.Receiver = running.Facts(r, i.target, p.Dir, i.facts.Receiver)
					i.facts.Watcher = i.facts.Receiver.Alive()
				}
				return nil
			})
		}
	}
	if f.Live || p.Stat.Kind == rootfs.Absent {
		f.Closed = i.closed(path.Dir(p.Path))
	}
	return f, i.directory(p, &f)
}

// closed returns the outermost directory on the path, dir included, that only its owner
// may enter; empty if every user may enter all of them.
func (i *inspection) closed(dir string) (found string) {
	for ; dir != "/"; dir = path.Dir(dir) {
		d, err := i.target.Root.Dir(dir)
		if err != nil {
			continue // a repair creates it, or says why it cannot
		}
		if st, err := d.Self(); err == nil && st.Owner.Mode&0o001 == 0 {
			found = dir
		}
		d.Close()
	}
	return found
}

// directory examines the directory of a path: the present one, or the one that a repair
// will create.
func (i *inspection) directory(p *rootfs.Place, f *plan.PathFacts) error {
	at, d, missing := path.Dir(p.Path), p.Dir, 0
	for d == nil {
		var err error
		if d, err = i.target.Root.Dir(at); err == nil {
			defer d.Close()
		} else if !errors.Is(err, unix.ENOENT) || at == "/" {
			return err
		} else {
			at, missing = path.Dir(at), missing+1
		}
	}
	if err := d.Writable(); err != nil {
		f.Unwritable = err.Error()
	}
	tooFar := ""
	if missing > maxMissing {
		tooFar = fmt.Sprintf("more than %d directories are missing", maxMissing)
	} else if len(p.Path) > rootfs.MaxSocketPath {
		tooFar = unix.ENAMETOOLONG.Error()
	}
	st, err := d.Self()
	if err != nil {
		return err
	}
	switch {
	case st.ID == i.devStat.ID: // never over /dev itself
	case p.Dir == nil && f.Unwritable == "":
		f.MountAt = path.Dir(p.Path) // once it is created
	case i.hidesNothing(d, p.Name):
		f.MountAt = at
	}
	if tooFar != "" {
		f.Unwritable, f.MountAt = tooFar, ""
	}
	f.Sharing = plan.Private
	switch {
	case st.ID.Dev == i.devStat.ID.Dev && i.facts.Dev.Sharing != plan.Private:
		f.Sharing = i.facts.Dev.Sharing
		f.MountAt = "" // never over a part of /dev
	case i.target.Inside:
		if !i.facts.Host && (changes.OfHost(d) != nil || st.ID.Dev == i.foreign) {
			f.Sharing = plan.Shared // the host's directory, seen from a container
		}
	default:
		same, err := target.IsHostPath(at, st.ID)
		if err != nil {
			return err
		}
		if same {
			f.Sharing = plan.Shared
		}
	}
	return nil
}

// hidesNothing returns whether a mount over the directory would hide only what repairs make
// there.
func (i *inspection) hidesNothing(d *rootfs.Dir, socket string) bool {
	all, err := d.Names(maxOwn)
	if err != nil {
		return false
	}
	for _, name := range all {
		if name != socket && name != names.Record && name != names.Link && !failure.IsNote(name) && !strings.HasPrefix(name, names.TempPrefix) {
			return false
		}
	}
	return len(all) < maxOwn
}

// maxMissing is how many directories a repair creates for a socket. Without a limit,
// a link in a shared /dev could make it create thousands.
const maxMissing = 8

// maxOwn is more than the number of files that repairs make in one directory.
const maxOwn = 16
