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

	"devlog/internal/devdir"
	"devlog/internal/file"
	"devlog/internal/names"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
	"devlog/internal/target"
)

// Facts gathers the facts about the target, whose private socket is to be at
// that path. known are the places, beside that and those of every host, that
// the administrator knows a shared /dev/log to lead to. It changes nothing and
// sends nothing.
func Facts(t *target.Target, socket string, known ...string) (plan.Facts, error) {
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
	for _, part := range []func() error{i.hostSocket, i.devSharing, i.log, func() error { return i.socket(socket) }} {
		if err := part(); err != nil {
			return f, err
		}
	}
	return f, nil
}

// inspection is what the parts of Inspect have in common.
type inspection struct {
	target  *target.Target
	facts   *plan.Facts
	dev     *rootfs.Dir
	devStat rootfs.Stat
	known   []string
	// own says that /dev is one as runtimes make it for a container.
	own bool
	// foreign is the device of a file system on which a listener of another
	// container, or of the host, was found; 0 if none was.
	foreign uint64
}

// hostSocket looks at what a repair of the host has left in /dev.
func (i *inspection) hostSocket() error {
	st, err := i.dev.Lstat(names.HostSocket)
	if err != nil || st.Kind == rootfs.Absent {
		return err
	}
	l, err := i.dev.Listening(names.HostSocket)
	i.facts.HostSocket = plan.SocketFacts{Kind: st.Kind, ID: st.ID, Live: l.Live}
	return err
}

// devSharing finds out whose /dev it is. From the host that is a comparison;
// inside a container only a devtmpfs, of which there is one in the whole
// kernel, and a prepared host give it away.
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
			f.Dev.Sharing = plan.Private // no mount of its own: a folder of the container's root
		}
	}
	return nil
}

// log looks at /dev/log and where it leads.
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
	if aside, err := i.dev.Lstat(names.Old); err != nil {
		return err
	} else if aside.Kind != rootfs.Absent {
		log.Old = aside.Kind
	}
	if st.Kind == rootfs.Link {
		if log.Link, err = i.dev.Readlink(names.Log); err != nil {
			return err
		}
		log.Known = plan.IsKnown(log.Link, i.known)
		log.OnHost = i.facts.MayPrepare && i.facts.Dev.Sharing != plan.Private && listensOnHost()
	}
	p, err := i.target.Root.Resolve(names.LogPath)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := i.reached(st, p); err != nil {
		return err
	}
	if log.Leads, err = i.place(p); err != nil {
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

// listensOnHost says whether somebody listens where /dev/log leads on the host, in
// whose root directory this process is. What cannot be seen counts as somebody.
func listensOnHost() (live bool) {
	live = true
	_ = rootfs.AsSelf(func() error {
		root, err := rootfs.Open("/")
		if err != nil {
			return err
		}
		defer root.Close()
		p, err := root.Resolve(names.LogPath)
		if err != nil {
			return err
		}
		defer p.Close()
		live = false
		if p.Stat.Kind != rootfs.Socket {
			return nil
		}
		l, err := p.Dir.Listening(p.Name)
		live = err != nil || l.Live
		return err
	})
	return live
}

// mounted looks whether what nobody listens on is mounted over the name.
func (i *inspection) mounted() (err error) {
	log := &i.facts.Log
	if log.Kind == rootfs.Socket && !log.Leads.Live {
		log.Mounted, err = i.dev.MountedOver(names.Log)
	}
	return err
}

// listener looks whose the listener is where /dev/log leads, as far as that
// decides something.
func (i *inspection) listener(p *rootfs.Place) {
	f, leads := i.facts, &i.facts.Log.Leads
	// Root sees all processes of its container.
	sees := i.target.Inside && !f.Host && !f.NotRoot && f.Dev.Sharing != plan.Private
	if leads.Live && (sees || i.target.Host || f.HostPrepared()) {
		leads.Here = listenerHere(i.target, p.Stat.ID)
	}
	if host := f.HostSocket; leads.Live && host.Live && f.Log.Kind == rootfs.Socket && host.ID != f.Log.ID && (!i.target.Inside || f.Host && !f.NotRoot) {
		f.Log.Intruder = ForeignOnHost(f.Log.ID)
	}
	if leads.Live && i.own && !f.Host && !f.NotRoot && p.Stat.ID.Dev == i.devStat.ID.Dev &&
		!listenerHere(i.target, p.Stat.ID) && !f.Watcher && notOurs(p.Stat.ID) {
		// A runtime has made this /dev, but for a container around this one.
		f.Dev.Sharing, leads.Sharing = plan.Shared, plan.Shared
	}
	switch {
	case !leads.Live || !sees:
	case leads.Here && leads.Sharing == plan.Unknown:
		// Whoever listens is one of us. So the file system is our own too, as
		// far as anybody can tell from here.
		leads.Sharing = plan.Private
	case !leads.Here && !f.Watcher && leads.Sharing == plan.Private && notOurs(p.Stat.ID):
		leads.Sharing = plan.Shared // the host's /run, say
		i.foreign = p.Stat.ID.Dev
	}
}

// reached says whether a path led to the place by the log that was looked at. A
// container's root can mount another /dev over the one that is held, and a live
// socket in that would be taken for what the other one has: a dead one.
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

// notHost is why this is a container, although it is said to be the host.
func (i *inspection) notHost() string {
	leads := i.facts.Log.Leads
	switch {
	case i.target.PIDNS == target.InitPIDNamespace, i.target.OnHost():
		return ""
	case i.facts.Dev.FSType == "devtmpfs":
		return "this is a container: its PID namespace is not the first, and /dev is a devtmpfs"
	case leads.Live && !leads.Here && !i.facts.Watcher:
		return plan.NotSeen
	}
	return ""
}

// socket looks at the private socket's place. Its name is not followed: a link
// there is not what a repair makes.
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
	i.facts.Socket, err = i.place(p)
	return err
}

// fsType is the type of the mounted file system with that device number, or
// empty if it is not mounted where this process can see it. own says that it is a
// /dev as runtimes make it for one container.
func fsType(dev uint64) (found string, own bool, err error) {
	_, err = mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		if unix.Mkdev(uint32(m.Major), uint32(m.Minor)) == dev {
			found, own = m.FSType, runtimesDev(m.FSType, m.VFSOptions)
		}
		return true, found != ""
	})
	if err != nil {
		return "", false, fmt.Errorf("read the mount table: %w", err)
	}
	return found, own, nil
}

// runtimesDev says whether a file system of that type, with those options of its
// superblock (proc_pid_mountinfo(5)), is the /dev that a runtime makes for one
// container: of 64 MiB with OCI runtimes (runc spec, podman, Docker, containerd),
// of 500,000 bytes with LXC (lxc.autodev.tmpfs.size).
func runtimesDev(fstype, options string) bool {
	list := strings.Split(options, ",")
	return fstype == "tmpfs" && slices.Contains(list, "mode=755") &&
		(slices.Contains(list, "size=65536k") || slices.Contains(list, "size=492k"))
}
