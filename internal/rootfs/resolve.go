package rootfs

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many links Resolve follows, as path_resolution(7) does.
const maxLinks = 40

// Place is where a path leads after all links are followed: a name in a
// directory. The name need not exist.
type Place struct {
	// Dir is the directory, or nil if it does not exist.
	Dir *Dir
	// Path is the place's path inside the root. It has no .. elements, so that
	// MkdirAll comes to the same place.
	Path string
	// Name is Path's last element.
	Name string
	// Stat is what is there; its Kind is Absent if nothing is.
	Stat Stat
	// Blocked is why the path leads nowhere and nothing can be made there, or
	// nil. The place is Absent and has no Dir then, and Path is as far as the
	// path could be followed.
	Blocked error
}

// Close releases the directory handle, if there is one.
func (p *Place) Close() {
	if p.Dir != nil {
		p.Dir.Close()
	}
}

// Resolve follows the path and every link it leads to, inside r. It does not
// fail where something on the way is missing or cannot be passed: that place
// is Absent. In a directory that is shared anybody can make a link like that.
func (r *Root) Resolve(name string) (*Place, error) {
	at, blocked := "/"+name, error(unix.ELOOP)
	onlyDir := false
	for range maxLinks {
		onlyDir = onlyDir || endsInDir(at)
		p, next, err := r.step(at)
		if p != nil && onlyDir && p.Stat.Kind != Directory {
			p.Close()
			at, blocked = p.Path, unix.ENOTDIR // no socket can be there
			break
		}
		if p != nil {
			return p, nil
		}
		if err != nil {
			if shortage(err) {
				return nil, fmt.Errorf("follow %s: %w", at, err)
			}
			blocked = errno(err)
			break
		}
		at = next
	}
	at = path.Clean(at)
	return &Place{Path: at, Name: base(at), Stat: Stat{Kind: Absent}, Blocked: blocked}, nil
}

// shortage says that the error is of this process, not of the path.
func shortage(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// step returns the place that the path is, or the path to which it leads if
// there is a link in the way.
func (r *Root) step(at string) (p *Place, next string, err error) {
	if at, err = r.withoutUp(at); err != nil {
		return nil, "", err
	}
	d, err := r.Dir(path.Dir(at))
	if missing(err) {
		if next, err = r.pastDangling(at); err != nil || next != "" {
			return nil, next, err
		}
		return &Place{Path: at, Name: base(at), Stat: Stat{Kind: Absent}}, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	p = &Place{Dir: d, Path: at, Name: base(at)}
	if p.Stat, err = d.Lstat(p.Name); err == nil && p.Stat.Kind == Link {
		next, err = d.target(p.Name)
	}
	if err != nil || next != "" {
		d.Close()
		return nil, next, err
	}
	return p, "", nil
}

// pastDangling follows the first link, above the path's last element, that
// leads to what is missing. What it leads to can be made, the link itself is
// in the way. It returns "" if there is none.
func (r *Root) pastDangling(at string) (string, error) {
	for above := path.Dir(at); above != "/"; above = path.Dir(above) {
		d, err := r.Dir(path.Dir(above))
		if missing(err) {
			continue
		}
		if err != nil {
			return "", err
		}
		defer d.Close()
		st, err := d.Lstat(path.Base(above))
		if err != nil || st.Kind != Link {
			return "", err
		}
		next, err := d.target(path.Base(above))
		return next + "/" + strings.TrimPrefix(at, above+"/"), err
	}
	return "", nil
}

// withoutUp returns the path without .. elements, as the kernel sees them: the
// one behind a link leads above what the link leads to.
func (r *Root) withoutUp(name string) (string, error) {
	at := strings.LastIndex(name+"/", "/../")
	if at < 0 {
		return path.Clean(name), nil
	}
	rest := name[min(at+len("/../"), len(name)):]
	done, links := "/", 0
	for todo := strings.Split(name[:at]+"/..", "/"); len(todo) > 0; {
		element := todo[0]
		todo = todo[1:]
		switch element {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done)
			continue
		}
		target, err := r.enter(done, element)
		if err != nil {
			return "", err
		}
		if target == "" {
			done = path.Join(done, element)
			continue
		}
		if links++; links > maxLinks {
			return "", unix.ELOOP
		}
		done, todo = "/", append(strings.Split(target, "/"), todo...)
	}
	return path.Join(done, rest), nil
}

// enter returns where the link leads that has the name in the directory; "" if
// it is a directory.
func (r *Root) enter(dir, name string) (string, error) {
	d, err := r.Dir(dir)
	if err != nil {
		return "", err
	}
	defer d.Close()
	switch st, err := d.Lstat(name); {
	case err != nil:
		return "", err
	case st.Kind == Link:
		return d.target(name)
	case st.Kind == Absent:
		return "", unix.ENOENT
	case st.Kind != Directory:
		return "", unix.ENOTDIR
	}
	return "", nil
}

// target is the path, inside the root, to which the link leads. It may have ..
// elements.
func (d *Dir) target(name string) (string, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(d.FD(), &fs); err != nil {
		return "", d.failed("examine", name, err)
	}
	if fs.Type == unix.PROC_SUPER_MAGIC {
		return "", unix.ELOOP // these lead each process elsewhere, whatever their text
	}
	text, err := d.Readlink(name)
	if err != nil || path.IsAbs(text) {
		return text, err
	}
	return d.path + "/" + text, nil
}

// endsInDir says that the path's last element makes it a directory's.
func endsInDir(name string) bool {
	last := name[strings.LastIndexByte(name, '/')+1:]
	return last == "" || last == "." || last == ".."
}

// base is the name of the path in the directory above it; "." of the root.
func base(name string) string {
	if name == "/" {
		return "."
	}
	return path.Base(name)
}
