// Package inspect owns the inspection of a target: system calls that change nothing
// and send nothing, and gather the facts that a plan is made of.
package inspect

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"devlog/internal/changes"
	"devlog/internal/devdir"
	"devlog/internal/file"
	"devlog/internal/names"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
	"devlog/internal/target"
)

// Facts gathers the facts about the target, whose private socket will be at that path, and
// whose further sockets at those of listen. known are more paths to which the administrator
// allows a shared /dev/log to point; see plan.KnownPaths. The error is devdir.ErrChanged if
// /dev changed meanwhile.
func Facts(t *target.Target, socket string, listen []string, known ...string) (plan.Facts, error) {
	return facts(t, socket, listen, known, (*inspection).log)
}

// Contested is Facts while others replace /dev/log all the time: it does not look at the
// name, which counts as a link to the private socket.
func Contested(t *target.Target, socket string, listen []string) (plan.Facts, error) {
	f, err := facts(t, socket, listen, nil, func(*inspection) error { return nil })
	f.Log = plan.LogFacts{Kind: rootfs.Link, Link: socket, Known: true, Target: f.Socket}
	return f, err
}

func facts(t *target.Target, socket string, listen, known []string, log func(*inspection) error) (plan.Facts, error) {
	f := plan.Facts{Inside: t.Inside, Host: t.Host, NotRoot: os.Geteuid() != 0, MayMount: t.MayMount(), MayPrepare: t.MayPrepare(),
		HostSocket: plan.SocketFacts{Kind: rootfs.Absent}}
	dev, err := t.Root.Dir(names.Dev)
	if errors.Is(err, unix.ENOENT) {
		f.Dev.Kind = rootfs.Absent
		return f, nil
	}
	if err != nil {
		return f, err
	}
	defer dev.Close()
	i := inspection{target: t, dev: dev, facts: &f, known: plan.KnownPaths(socket, known)}
	if i.devStat, err = dev.Self(); err != nil {
		return f, err
	}
	if f.Dev.Kind = i.devStat.Kind; f.Dev.Kind != rootfs.Directory {
		return f, nil
	}
	if err := dev.Writable(); err != nil {
		f.Dev.Unwritable = err.Error()
	}
	for _, part := range []func() error{i.hostSocket, i.devSharing, i.journal, func() error { return log(&i) },
		func() error { return i.socket(socket) }, func() error { return i.listen(listen) },
		func() error { i.former(socket); return nil }} {
		if err := part(); err != nil {
			return f, err
		}
	}
	return f, nil
}

// inspection is the state that the parts of Facts share.
type inspection struct {
	target  *target.Target
	facts   *plan.Facts
	dev     *rootfs.Dir
	devStat rootfs.Stat
	known   []string
	// recorded are the further sockets that an earlier repair of the container has made.
	recorded []changes.Further
	// own says that /dev looks like one that a runtime makes for a container.
	own bool
	// foreign is the device of a file system on which a listener of the host or of
	// another container was found; 0 for none.
	foreign uint64
}

// hostSocket examines the socket that a prepared host has in /dev.
func (i *inspection) hostSocket() error {
	st, err := i.dev.Lstat(names.HostSocket)
	if err != nil || st.Kind == rootfs.Absent {
		return err
	}
	l, err := i.dev.Listening(names.HostSocket)
	i.facts.HostSocket = plan.SocketFacts{Kind: st.Kind, ID: st.ID, Live: l.Live}
	return err
}

// journal finds out whether systemd's journal listens on the host.
func (i *inspection) journal() error {
	if !i.facts.Host {
		return nil
	}
	p, err := i.target.Root.Resolve(names.JournalSocket)
	if err != nil {
		return err
	}
	defer p.Close()
	if p.Stat.Kind != rootfs.Socket {
		return nil
	}
	l, err := p.Dir.Listening(p.Name)
	i.facts.Journal = l.Live
	return err
}

// devSharing finds out whose /dev it is. The host compares it to its own. Inside a
// container /dev is known to be shared if it is a devtmpfs, of which the kernel has only
// one, or if the host is prepared.
func (i *inspection) devSharing() error {
	f := i.facts
	fstype, own, err := fsType(i.devStat.ID.Dev)
	if err != nil {
		return err
	}
	f.Dev.FSType = fstype
	if i.target.Inside && !f.Host {
		f.Host = i.target.OnHost()
	}
	switch {
	case f.Host:
		f.Dev.Sharing = plan.Private
	case fstype == "devtmpfs" || f.HostPrepared():
		f.Dev.Sharing = plan.Shared
	case !i.target.Inside:
		f.Dev.Sharing = plan.Private
		if same, err := target.IsHostPath(names.Dev, i.devStat.ID); err != nil || same {
			f.Dev.Sharing = plan.Shared
			return err
		}
	default:
		f.Dev.Sharing = plan.Unknown
		var root unix.Stat_t
		if own {
			f.Dev.Sharing, i.own = plan.Private, true
		} else if unix.Stat("/", &root) == nil && file.IDOf(&root).Dev == i.devStat.ID.Dev {
			f.Dev.Sharing = plan.Private // not a mount: a directory of the container's root
		}
	}
	return nil
}

// log examines /dev/log and where it points.
func (i *inspection) log() error {
	if host := &i.facts.HostSocket; host.Live && i.facts.Host && !i.facts.NotRoot && !i.target.Confined {
		host.Foreign = ForeignOnHost(host.ID)
	}
	log := &i.facts.Log
	st, err := i.dev.Lstat(names.Log)
	if err != nil {
		return err
	}
	log.Kind, log.ID, log.Owner = st.Kind, st.ID, st.Owner
	if old, err := i.dev.Lstat(names.Old); err != nil {
		return err
	} else if old.Kind != rootfs.Absent {
		log.Old = old.Kind
	}
	if st.Kind == rootfs.Link {
		if log.Link, err = i.dev.Readlink(names.Log); err != nil {
			return devdir.Changed(err, unix.ENOENT, unix.EINVAL)
		}
		log.Known = plan.IsKnown(log.Link, i.known)
		log.OnHost = i.facts.MayPrepare && i.facts.Dev.Sharing != plan.Private && listensOnHost(names.LogPath, true)
	}
	p, err := i.target.Root.Resolve(names.LogPath)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := i.reached(st, p); err != nil {
		return err
	}
	if log.Target, err = i.path(p); err != nil {
		return err
	}
	if err := i.mounted(); err != nil {
		return err
	}
	i.listener(p)
	if i.target.Host {
		i.facts.NotHost = i.notHost()
	}
	return nil
}

// listensOnHost returns whether somebody listens at the host's path, with links followed. This
// process is in the host's root directory. If it cannot tell, it returns unknown.
func listensOnHost(name string, unknown bool) (live bool) {
	live = unknown
	_ = rootfs.AsSelf(func() error {
		root, err := rootfs.Open("/")
		if err != nil {
			return err
		}
		defer root.Close()
		p, err := root.Resolve(name)
		if err != nil {
			return err
		}
		defer p.Close()
		if p.Stat.Kind != rootfs.Socket {
			live = false
			return nil
		}
		l, err := p.Dir.Listening(p.Name)
		if err == nil {
			live = l.Live
		}
		return err
	})
	return live
}

// mounted finds out whether a dead socket is mounted over the name.
func (i *inspection) mounted() (err error) {
	log := &i.facts.Log
	if log.Kind == rootfs.Socket && !log.Target.Live {
		log.Mounted, err = i.dev.MountedOver(names.Log)
	}
	return err
}

// listener finds out who listens where /dev/log points, as far as a plan depends on it.
func (i *inspection) listener(p *rootfs.Place) {
	f, dest := i.facts, &i.facts.Log.Target
	// Root sees all processes of its container.
	sees := i.target.Inside && !f.Host && !f.NotRoot && f.Dev.Sharing != plan.Private
	if dest.Live && (sees || i.target.Host || f.HostPrepared()) {
		dest.Here = listenerHere(i.target, p.Stat.ID)
	}
	if host := f.HostSocket; dest.Live && host.Live && f.Log.Kind == rootfs.Socket && host.ID != f.Log.ID && (!i.target.Inside || f.Host && !f.NotRoot) {
		f.Log.Intruder = ForeignOnHost(f.Log.ID)
	}
	if dest.Live && i.own && !f.Host && !f.NotRoot && p.Stat.ID.Dev == i.devStat.ID.Dev &&
		!listenerHere(i.target, p.Stat.ID) && !f.Watcher && notOurs(p.Stat.ID) {
		// A runtime has made this /dev, but for a container around this one.
		f.Dev.Sharing, dest.Sharing = plan.Shared, plan.Shared
	}
	switch {
	case !dest.Live || !sees:
	case dest.Here && dest.Sharing == plan.Unknown:
		// The listener is in this container, so the file system probably is its own too.
		dest.Sharing = plan.Private
	case !dest.Here && !f.Watcher && dest.Sharing == plan.Private && notOurs(p.Stat.ID):
		dest.Sharing = plan.Shared // for example the host's /run
		i.foreign = p.Stat.ID.Dev
	}
}

// reached returns devdir.ErrChanged if the path did not go through the /dev/log that was
// examined. A container's root can mount another /dev over the one that is held; then a
// live socket in one could be mistaken for a dead one in the other.
func (i *inspection) reached(log rootfs.Stat, p *rootfs.Place) error {
	dev, err := i.target.Root.Dir(names.Dev)
	if err != nil {
		return err
	}
	defer dev.Close()
	now, err := dev.Self()
	if err == nil && (now.ID != i.devStat.ID || log.Kind != rootfs.Link && p.Stat.ID != log.ID) {
		err = devdir.ErrChanged
	}
	return err
}

// notHost is why this cannot be the host although the user says so, or empty.
func (i *inspection) notHost() string {
	dest := i.facts.Log.Target
	switch {
	case i.target.PIDNS == target.InitPIDNamespace, i.target.OnHost():
		return ""
	case i.facts.Dev.FSType == "devtmpfs":
		return "this is a container: its PID namespace is not the first, and /dev is a devtmpfs"
	case dest.Live && !dest.Here && !i.facts.Watcher:
		return plan.NotSeen
	}
	return ""
}

// socket examines the private socket's path. The name is not followed: a repair makes no
// link there.
func (i *inspection) socket(at string) error {
	p := &rootfs.Place{Path: at, Name: path.Base(at), Stat: rootfs.Stat{Kind: rootfs.Absent}}
	var err error
	p.Dir, err = i.target.Root.Dir(path.Dir(at))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	defer p.Close()
	if p.Dir != nil {
		if p.Stat, err = p.Dir.Lstat(p.Name); err != nil {
			return err
		}
	}
	i.facts.Socket, err = i.path(p)
	return err
}

// fsType returns the type of the file system with that device number; empty if this
// process cannot see its mount. own says that it looks like a /dev that a runtime makes
// for one container.
func fsType(dev uint64) (found string, own bool, err error) {
	_, err = mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		if unix.Mkdev(uint32(m.Major), uint32(m.Minor)) == dev {
			found, own = m.FSType, runtimesDev(m.FSType, m.VFSOptions)
		}
		return true, found != ""
	})
	if err != nil {
		return "", false, fmt.Errorf("cannot read the mount table: %w", err)
	}
	return found, own, nil
}

// runtimesDev returns whether a file system of that type, with those superblock options
// (proc_pid_mountinfo(5)), looks like a /dev that a runtime makes for one container. OCI
// runtimes make it 64 MiB (runc spec, podman, Docker, containerd), LXC 500,000 bytes
// (lxc.autodev.tmpfs.size).
func runtimesDev(fstype, options string) bool {
	list := strings.Split(options, ",")
	return fstype == "tmpfs" && slices.Contains(list, "mode=755") &&
		(slices.Contains(list, "size=65536k") || slices.Contains(list, "size=492k"))
}
