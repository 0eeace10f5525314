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

// Place is a path with all links followed: a name in a directory. The name need not exist.
type Place struct {
	// Dir is the directory, or nil if it does not exist.
	Dir *Dir
	// Path is the place's path inside the root. It has no .. elements, so that MkdirAll
	// creates the same place.
	Path string
	// Name is Path's last element.
	Name string
	// Stat describes the file there; its Kind may be Absent.
	Stat Stat
	// Blocked is why the path cannot be followed and nothing can be created there, or nil.
	// Then the place is Absent and has no Dir, and Path is as far as it was followed.
	Blocked error
}

// Close releases the directory handle, if there is one.
func (p *Place) Close() {
	if p.Dir != nil {
		p.Dir.Close()
	}
}

// Resolve follows the path and all links inside r. If something on the way is missing or
// blocked, the place is Absent and there is no error: in a shared directory anybody can make
// such a link.
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
				return nil, fmt.Errorf("cannot follow %s: %w", at, err)
			}
			blocked = errno(err)
			break
		}
		at = next
	}
	at = path.Clean(at)
	return &Place{Path: at, Name: base(at), Stat: Stat{Kind: Absent}, Blocked: blocked}, nil
}

// shortage returns whether the error is this process's, not the path's.
func shortage(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// step returns the path's place, or the next path if a link is on the way.
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

// pastDangling follows the first dangling link before the path's last element: its target can
// be created. It returns "" if there is no such link.
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

// withoutUp returns the path without .. elements, as the kernel resolves them: after a link,
// .. is the parent of the link's target.
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

// enter returns the target of the link with that name; "" if the name is a directory.
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

// target returns the link's target as a path inside the root. It may have .. elements.
func (d *Dir) target(name string) (string, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(d.FD(), &fs); err != nil {
		return "", d.failed("examine", name, err)
	}
	if fs.Type == unix.PROC_SUPER_MAGIC {
		return "", unix.ELOOP // their target depends on the process, not on their text
	}
	text, err := d.Readlink(name)
	if err != nil || path.IsAbs(text) {
		return text, err
	}
	return d.path + "/" + text, nil
}

// endsInDir returns whether only a directory can have the path, because of its last element.
func endsInDir(name string) bool {
	last := name[strings.LastIndexByte(name, '/')+1:]
	return last == "" || last == "." || last == ".."
}

// base returns the path's last element; "." for the root.
func base(name string) string {
	if name == "/" {
		return "."
	}
	return path.Base(name)
}
