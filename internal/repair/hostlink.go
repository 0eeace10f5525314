package repair

import (
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"devlog/internal/changes"
	"devlog/internal/devdir"
	"devlog/internal/names"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
	"devlog/internal/target"
)

// makeHostLink makes the host's link from the path to which /dev/log will point to the
// host's own socket.
func makeHostLink(host *rootfs.Root, at, text string) error {
	dir, _, err := host.MkdirAll(path.Dir(at))
	if err != nil {
		return err
	}
	defer dir.Close()
	name := path.Base(at)
	st, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	switch st.Kind {
	case rootfs.Absent:
		return dir.Symlink(text, name)
	case rootfs.Link:
		if old, err := dir.Readlink(name); err != nil || old == text {
			return err
		}
	case rootfs.Socket:
		if l, err := dir.Listening(name); err != nil {
			return err
		} else if l.Live {
			return &plan.Refusal{Reason: "somebody listens on the host's " + at,
				Advice: "run devlog-hook undo on the host"}
		}
	default:
		return &plan.Refusal{Reason: fmt.Sprintf("%s on the host is a %s", at, st.Kind), Advice: "remove it"}
	}
	return dir.ReplaceLink(text, name)
}

// recordHost records on the host what undo --host needs, if the repair of a container
// prepares the host. That container's undo leaves the host prepared: others may rely on it.
func (w *work) recordHost(host *target.Target, dir string) error {
	d, made, err := host.Root.MkdirAll(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if changes.OfHost(d) != nil {
		return nil
	}
	r := changes.Changes{MountNS: host.MountNS, Before: changes.Before{Was: w.facts.Log.Kind, WasLink: w.facts.Log.Link, WasOwner: w.facts.Log.Owner},
		Set: names.DefaultSocket, Socket: names.DefaultSocket, Host: true}
	for _, m := range made {
		r.Made = append(r.Made, path.Join(m.Parent.Path(), m.Name))
		m.Parent.Close()
	}
	return r.Write(d)
}

// hostLink makes the link for the host's own clients, in this process's root, which is the
// host's.
func (w *work) hostLink(at, text string) error {
	return rootfs.AsSelf(func() error {
		host, err := target.Host()
		if err != nil {
			return err
		}
		defer host.Close()
		if !w.target.Host { // otherwise prepare has recorded it
			if err := w.recordHost(host, path.Dir(at)); err != nil {
				return err
			}
		}
		if err := makeHostLink(host.Root, at, text); err != nil {
			return err
		}
		// If no daemon runs yet, make a socket at which nobody listens: it says that the
		// host is prepared, and syslog-ng does not start over a dangling link.
		if err := devdir.ClearHostSocket(w.dev); err != nil {
			return err
		}
		st, err := w.dev.Lstat(names.HostSocket)
		if err != nil || st.Kind != rootfs.Absent {
			return err
		}
		return devdir.Changed(w.dev.MakeSocketFile(names.HostSocket, rootfs.Owner{Mode: 0o666}), unix.EEXIST)
	})
}
