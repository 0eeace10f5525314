package devlog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"devlog/internal/rootfs"
)

// Inspect gathers the facts about the target, whose private socket is to be at
// that path. It changes nothing and sends nothing.
func Inspect(t *Target, socket string) (Facts, error) {
	f := Facts{Inside: t.inside, MayMount: mayMount()}
	if t.inside {
		f.Host = onHost()
	}
	dev, err := t.root.Dir(devDir)
	if errors.Is(err, unix.ENOENT) {
		f.Dev.Kind = rootfs.Absent
		return f, nil
	}
	if err != nil {
		return f, err
	}
	defer dev.Close()
	devStat, err := dev.Self()
	if err != nil {
		return f, err
	}
	f.Dev.Kind = devStat.Kind
	if err := dev.Writable(); err != nil {
		f.Dev.Unwritable = err.Error()
	}
	prepared, err := dev.Lstat(hostName)
	if err != nil {
		return f, err
	}
	f.HostPrepared = prepared.Kind == rootfs.Socket
	if err := f.inspectDevSharing(t, devStat); err != nil {
		return f, err
	}
	if err := f.inspectLog(t, dev, devStat); err != nil {
		return f, err
	}
	if f.Socket, err = inspectPlace(t, socket, f.Dev.Sharing, devStat); err != nil {
		return f, err
	}
	return f, nil
}

// inspectDevSharing finds out whose /dev it is. From the host that is a
// comparison; inside a container only a devtmpfs, of which there is one in
// the whole kernel, gives it away.
func (f *Facts) inspectDevSharing(t *Target, dev rootfs.Stat) error {
	fstype, err := fsType(dev.ID.Dev)
	if err != nil {
		return err
	}
	f.Dev.FSType = fstype
	switch {
	case f.Host:
		f.Dev.Sharing = Private
	case fstype == "devtmpfs" || f.HostPrepared:
		f.Dev.Sharing = Shared
	case !t.inside:
		f.Dev.Sharing = Private
		if same, err := isHostPath(devDir, dev.ID); err != nil || same {
			f.Dev.Sharing = Shared
			return err
		}
	default:
		f.Dev.Sharing = Unknown
		if root, err := os.Stat("/"); err == nil && root.Sys().(*syscall.Stat_t).Dev == dev.ID.Dev {
			f.Dev.Sharing = Private // no mount of its own: a folder of the container's root
		}
	}
	return nil
}

func (f *Facts) inspectLog(t *Target, dev *rootfs.Dir, devStat rootfs.Stat) error {
	st, err := dev.Lstat(logName)
	if err != nil {
		return err
	}
	f.Log.Kind, f.Log.ID = st.Kind, st.ID
	if st.Kind == rootfs.Link {
		if f.Log.Link, err = dev.Readlink(logName); err != nil {
			return err
		}
	}
	f.Log.Leads, err = inspectPlace(t, logPath, f.Dev.Sharing, devStat)
	if err != nil {
		return err
	}
	if leads := &f.Log.Leads; leads.Live && leads.Sharing == Unknown && listenerHere(leads.Path) {
		// Whoever listens is one of us. So the file system is our own too, as
		// far as anybody can tell from here.
		leads.Sharing = Private
	}
	return nil
}

// inspectPlace gathers what there is to know about the place that the path
// leads to.
func inspectPlace(t *Target, at string, devSharing Sharing, dev rootfs.Stat) (PlaceFacts, error) {
	p, err := t.root.Resolve(at)
	if err != nil {
		return PlaceFacts{}, err
	}
	defer p.Close()
	f := PlaceFacts{Path: p.Path, Kind: p.Stat.Kind}
	switch p.Stat.Kind {
	case rootfs.Absent:
		f.Problem = unix.ENOENT.Error()
	case rootfs.Socket:
		l, err := p.Dir.Listening(p.Name)
		if err != nil {
			return f, err
		}
		f.Live = l.Live
		// A stream socket is as good: syslog(3) tries that next.
		if l.Err != nil && !errors.Is(l.Err, unix.EPROTOTYPE) {
			f.Problem = l.Err.Error()
		}
	default:
		f.Problem = unix.ECONNREFUSED.Error()
	}
	f.Sharing, err = placeSharing(t, p, devSharing, dev)
	return f, err
}

// placeSharing finds out whose the directory is that a place is in, or will be
// in once it is made.
func placeSharing(t *Target, p *rootfs.Place, devSharing Sharing, dev rootfs.Stat) (Sharing, error) {
	at := path.Dir(p.Path)
	d := p.Dir
	for d == nil {
		var err error
		if d, err = t.root.Dir(at); err == nil {
			defer d.Close()
		} else if !errors.Is(err, unix.ENOENT) || at == "/" {
			return "", err
		} else {
			at = path.Dir(at)
		}
	}
	st, err := d.Self()
	if err != nil {
		return "", err
	}
	if st.ID.Dev == dev.ID.Dev && devSharing != Private {
		return devSharing, nil
	}
	if t.inside {
		return Private, nil
	}
	if same, err := isHostPath(at, st.ID); err != nil || same {
		return Shared, err
	}
	return Private, nil
}

// isHostPath says whether the path, in this process's own root, is that file.
func isHostPath(name string, id rootfs.ID) (bool, error) {
	st, err := os.Stat(name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("compare with the host: %w", err)
	}
	s := st.Sys().(*syscall.Stat_t)
	return rootfs.ID{Dev: s.Dev, Ino: s.Ino} == id, nil
}

// fsType is the type of the mounted file system with that device number, or
// empty if it is not mounted where this process can see it.
func fsType(dev uint64) (string, error) {
	var found string
	_, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		if unix.Mkdev(uint32(m.Major), uint32(m.Minor)) == dev {
			found = m.FSType
		}
		return true, found != ""
	})
	if err != nil {
		return "", fmt.Errorf("read the mount table: %w", err)
	}
	return found, nil
}

// initPIDNamespace is the inode number of the first PID namespace
// (PROC_PID_INIT_INO of the kernel's include/linux/proc_ns.h).
const initPIDNamespace = 0xEFFFFFFC

// onHost says that this process is in no container: in the first PID
// namespace, and in the mount namespace of its init.
func onHost() bool {
	pid, err := os.Stat("/proc/self/ns/pid")
	if err != nil || pid.Sys().(*syscall.Stat_t).Ino != initPIDNamespace {
		return false
	}
	same, err := sameNamespace(1)
	return err == nil && same
}

// mayMount says whether this process has CAP_SYS_ADMIN (capabilities(7)).
func mayMount() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// listenerHere says whether a process in this mount namespace has the socket
// with this path open. What cannot be read counts as not here.
func listenerHere(name string) bool {
	f, err := os.Open("/proc/net/unix")
	if err != nil {
		return false
	}
	defer f.Close()
	inodes := unixInodes(f, name)
	if len(inodes) == 0 {
		return false
	}
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return false
	}
	for _, l := range links {
		text, err := os.Readlink(l)
		if err != nil || !inodes[text] {
			continue
		}
		theirs, err := os.Stat(path.Join(path.Dir(path.Dir(l)), "ns/mnt"))
		if err != nil {
			continue
		}
		if ours, err := os.Stat("/proc/self/ns/mnt"); err == nil && os.SameFile(ours, theirs) {
			return true
		}
	}
	return false
}

// unixInodes returns, as the texts of /proc/PID/fd links, the sockets that are
// bound to the path according to a /proc/net/unix (proc(5)).
func unixInodes(table io.Reader, name string) map[string]bool {
	found := map[string]bool{}
	for lines := bufio.NewScanner(table); lines.Scan(); {
		// Num RefCount Protocol Flags Type St Inode Path
		fields := strings.SplitN(strings.Join(strings.Fields(lines.Text()), " "), " ", 8)
		if len(fields) == 8 && fields[7] == name {
			found["socket:["+fields[6]+"]"] = true
		}
	}
	return found
}
