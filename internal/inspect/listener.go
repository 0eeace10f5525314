package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"devlog/internal/rootfs"
	"devlog/internal/target"
)

// listenerHere returns whether a process of this container, or of this host, has the socket
// open whose name has that identity. What cannot be read counts as no. A receiver's
// sandbox cannot see other processes' files: there, a socket of this network namespace
// counts as this host's.
func listenerHere(t *target.Target, id rootfs.ID) bool {
	inode, err := socketAt(id)
	if err != nil || t.Confined {
		return err == nil
	}
	own, err := target.Namespace("self", "mnt")
	if err != nil {
		return false
	}
	for _, pid := range holders(inode) {
		if theirs, err := target.Namespace(pid, "mnt"); err == nil && theirs == own {
			return true
		}
		// A service in the container can have its own mount namespace.
		if theirs, err := target.Namespace(pid, "pid"); err == nil && theirs == t.PIDNS && t.Inside && !t.Host && t.PIDNS != target.InitPIDNamespace {
			return true
		}
	}
	return false
}

// holders returns the processes that have the socket with that inode number open, as far
// as this process can see, once for each descriptor.
func holders(inode uint32) (pids []string) {
	want := fmt.Sprintf("socket:[%d]", inode)
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return nil
	}
	for _, l := range links {
		if text, err := os.Readlink(l); err == nil && text == want {
			pids = append(pids, path.Base(path.Dir(path.Dir(l))))
		}
	}
	return pids
}

// ForeignOnHost returns whether only containers' processes have the socket open whose name has
// that identity. The host's own daemon can have its own mounts, but its root directory is
// the host's. A socket of another network namespace cannot be seen: it is a container's.
func ForeignOnHost(id rootfs.ID) bool {
	inode, err := socketAt(id)
	if err != nil {
		return errors.Is(err, unix.ENOENT)
	}
	others := false
	for _, pid := range holders(inode) {
		var root, own unix.Stat_t
		if unix.Stat("/proc/"+pid+"/root", &root) != nil || unix.Stat("/", &own) != nil {
			continue
		}
		if root.Dev == own.Dev && root.Ino == own.Ino {
			return false
		}
		others = true
	}
	return others
}

// notOurs returns whether a live socket does not belong to the container if listenerHere finds
// no process: it is in another network namespace, or this process may see the files of
// all processes (PTRACE_MODE_READ_FSCREDS of ptrace(2)).
func notOurs(id rootfs.ID) bool {
	_, err := socketAt(id)
	return errors.Is(err, unix.ENOENT) || target.Capable(unix.CAP_SYS_PTRACE)
}

// The kernel's include/uapi/linux/unix_diag.h.
const (
	unixDiagVFS       = 1 // UNIX_DIAG_VFS
	showVFS           = 2 // UDIAG_SHOW_VFS
	sizeofUnixDiagReq = 24
	sizeofUnixDiagMsg = 16
)

// socketAt returns the inode number, as in /proc/PID/fd, of the socket that is bound to
// the name with that identity (sock_diag(7)). It sees only this network namespace. The
// error is ENOENT if there is no such socket.
func socketAt(id rootfs.ID) (uint32, error) {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, fmt.Errorf("cannot list the sockets: %w", err)
	}
	defer unix.Close(s)
	request := make([]byte, unix.SizeofNlMsghdr+sizeofUnixDiagReq)
	n := binary.NativeEndian
	n.PutUint32(request[0:], uint32(len(request)))
	n.PutUint16(request[4:], unix.SOCK_DIAG_BY_FAMILY)
	n.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := request[unix.SizeofNlMsghdr:]
	body[0] = unix.AF_UNIX
	n.PutUint32(body[4:], ^uint32(0)) // udiag_states: all
	n.PutUint32(body[12:], showVFS)   // udiag_show
	if err := unix.Sendto(s, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("cannot list the sockets: %w", err)
	}
	buf := make([]byte, 64<<10)
	for {
		got, _, err := unix.Recvfrom(s, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("cannot list the sockets: %w", err)
		}
		inode, done := findSocket(buf[:got], id)
		if inode != 0 {
			return inode, nil
		}
		if done {
			return 0, fmt.Errorf("cannot find the socket: %w", unix.ENOENT)
		}
	}
}

// findSocket searches netlink(7) messages of struct unix_diag_msg for the socket that is
// bound to the name. done says that no more messages follow.
func findSocket(data []byte, id rootfs.ID) (inode uint32, done bool) {
	n := binary.NativeEndian
	for len(data) >= unix.SizeofNlMsghdr {
		size := int(n.Uint32(data))
		if size < unix.SizeofNlMsghdr || size > len(data) {
			return 0, true
		}
		if kind := n.Uint16(data[4:]); kind == unix.NLMSG_DONE || kind == unix.NLMSG_ERROR {
			return 0, true
		}
		body := data[unix.SizeofNlMsghdr:size]
		if len(body) >= sizeofUnixDiagMsg && receives(body) && boundTo(body[sizeofUnixDiagMsg:], id) {
			return n.Uint32(body[4:]), false // udiag_ino
		}
		data = data[min(align4(size), len(data)):]
	}
	return 0, false
}

// tcpListen is TCP_LISTEN of the kernel's include/net/tcp_states.h.
const tcpListen = 10

// receives returns whether a struct unix_diag_msg is of a socket that receives from any
// sender, and not of a stream socket's connection, which has the same name.
func receives(msg []byte) bool {
	kind, state := msg[1], msg[2] // udiag_type, udiag_state
	return kind == unix.SOCK_DGRAM || state == tcpListen
}

// boundTo returns whether a socket's attributes (struct nlattr) name that file. The kernel
// writes inode and device numbers with 32 bits (struct unix_diag_vfs).
func boundTo(attrs []byte, id rootfs.ID) bool {
	n := binary.NativeEndian
	for len(attrs) >= unix.SizeofNlAttr {
		size := int(n.Uint16(attrs))
		if size < unix.SizeofNlAttr || size > len(attrs) {
			return false
		}
		if value := attrs[unix.SizeofNlAttr:size]; n.Uint16(attrs[2:]) == unixDiagVFS && len(value) >= 8 {
			ino, dev := n.Uint32(value), n.Uint32(value[4:])
			return ino == uint32(id.Ino) && dev == kernelDev(id.Dev)
		}
		attrs = attrs[min(align4(size), len(attrs)):]
	}
	return false
}

// kernelDev is the kernel's own 32-bit form of a device number
// (include/linux/kdev_t.h).
func kernelDev(dev uint64) uint32 { return unix.Major(dev)<<20 | unix.Minor(dev) }

func align4(n int) int { return (n + 3) &^ 3 }
