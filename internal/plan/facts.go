// Package plan owns the decision what to do about /dev/log: a pure function of facts
// and of what the user chose. It makes no system calls.
package plan

import (
	"devlog/internal/names"
	"devlog/internal/rootfs"
)

// Sharing says whether something in a container also belongs to others.
type Sharing string

// Unknown counts as Shared wherever a wrong guess could harm others.
const (
	Private Sharing = "private"
	Shared  Sharing = "shared"
	Unknown Sharing = "unknown"
)

// Facts are what a plan depends on. Paths are inside the container.
type Facts struct {
	// Inside says that this program runs in the container's namespaces.
	Inside bool `json:"inside"`
	// Host says that this is the host itself, no container.
	Host bool `json:"host"`
	// HostSocket is the host's own socket on a prepared host; absent on any other.
	HostSocket SocketFacts `json:"host_socket"`
	// Journal says that this is the host, and that systemd's journal listens at
	// names.JournalSocket.
	Journal bool `json:"journal,omitempty"`
	// NotRoot says that this program does not have root's privileges.
	NotRoot bool `json:"not_root,omitempty"`
	// MayMount says that this program may mount in the container.
	MayMount bool `json:"may_mount"`
	// MayPrepare says that this program runs on the host and may prepare it.
	MayPrepare bool `json:"may_prepare"`

	Dev DevFacts `json:"dev"`
	Log LogFacts `json:"log"`
	// Former is the link that /dev/log was, if others than this container rely on it: it was
	// removed, or replaced by something that does not work. It has no Kind if nobody relies on one.
	Former LogFacts `json:"former,omitzero"`
	// Socket is the private socket, to which /dev/log should point.
	Socket PathFacts `json:"socket"`
	// Listen are the further sockets: those that are asked for, and those that a repair
	// has made.
	Listen []ListenFacts `json:"listen,omitempty"`
	// NotHost is why this cannot be the host although it should be, or empty.
	NotHost string `json:"not_host,omitempty"`
	// Watcher says that a receiver of an earlier repair runs and repairs again when
	// /dev/log is replaced.
	Watcher bool `json:"watcher"`
	// Receiver is the state of that receiver.
	Receiver ReceiverFacts `json:"receiver"`
}

// ReceiverFacts are the facts about the receiver that an earlier repair started. With
// --receiver none it only watches /dev/log.
type ReceiverFacts struct {
	// State is Running, Elsewhere or Gone; empty if there has been none.
	State ReceiverState `json:"state,omitempty"`
	// PID is its process, if it can be seen.
	PID int `json:"pid,omitempty"`
	// Unit is its systemd service; empty for none.
	Unit string `json:"unit,omitempty"`
	// Rights are its privileges; nil if it does not run.
	Rights *Rights `json:"rights,omitempty"`
	// LogTrouble is why it cannot write one of its files now: the file and the reason; empty
	// if it can, or if nobody looked.
	LogTrouble string `json:"log_trouble,omitempty"`
}

// ReceiverState says whether a receiver runs.
type ReceiverState string

// A receiver Elsewhere is in another PID namespace and cannot be seen from here. It
// counts as running.
const (
	Running   ReceiverState = "running"
	Elsewhere ReceiverState = "elsewhere"
	Gone      ReceiverState = "gone"
)

// SocketFacts are the facts about a name that is or was a socket.
type SocketFacts struct {
	Kind rootfs.Kind `json:"kind"`
	ID   rootfs.ID   `json:"-"`
	Live bool        `json:"live"`
	// Foreign says that only processes with another root directory than the host's listen
	// there. Only root on the host can find out.
	Foreign bool `json:"foreign,omitempty"`
}

// hostSocketLost returns whether the host was prepared, and that the name of its socket was
// removed or given to another kind of file.
func (f Facts) hostSocketLost() bool {
	return f.Host && f.Log.Kind == rootfs.Link && f.Log.Link == names.DefaultSocket && f.Log.Target.Path != names.DefaultSocket && !f.HostPrepared()
}

// hostReplaced returns whether a container's daemon has replaced the host's socket, and that
// the host's /dev/log points to it.
func (f Facts) hostReplaced() bool {
	return f.Host && f.HostSocket.Foreign && f.Log.Target.ID == f.HostSocket.ID
}

// HostPrepared returns whether the host has been prepared.
func (f Facts) HostPrepared() bool { return f.HostSocket.Kind == rootfs.Socket }

// DevFacts are the facts about the directory /dev.
type DevFacts struct {
	// Kind is the type of the directory: Directory or Absent.
	Kind rootfs.Kind `json:"kind"`
	// FSType is the type of its file system, as in mountinfo; may be empty.
	FSType string `json:"fstype"`
	// Sharing says whether it is the host's /dev too.
	Sharing Sharing `json:"sharing"`
	// Unwritable is why no name can be created in it, or empty.
	Unwritable string `json:"unwritable,omitempty"`
}

// LogFacts are the facts about the name /dev/log.
type LogFacts struct {
	// Kind is what the name itself is.
	Kind rootfs.Kind `json:"kind"`
	// ID is the file's identity; a repair replaces no other.
	ID rootfs.ID `json:"-"`
	// Owner is the file's owner and mode.
	Owner rootfs.Owner `json:"-"`
	// Link is the link's text, if the name is one.
	Link string `json:"link,omitempty"`
	// Known says that the link's own text is a known path: one that containers may adopt
	// although any of them can have made the link.
	Known bool `json:"known,omitempty"`
	// OnHost says that somebody listens where the link points on the host. It is set only
	// if MayPrepare.
	OnHost bool `json:"on_host,omitempty"`
	// Old is the type of the file at names.OldPath, to which a repair renames a /dev/log
	// that is in the way.
	Old rootfs.Kind `json:"old,omitempty"`
	// Intruder says that, on a prepared host, a container's process listens at the name,
	// not the host's, as far as the host can tell.
	Intruder bool `json:"intruder,omitempty"`
	// Mounted says that a dead socket is mounted over the name.
	Mounted bool `json:"mounted,omitempty"`
	// Target is where the name points; /dev/log itself if it is not a link.
	Target PathFacts `json:"target"`
}

// PathFacts are the facts about a path where a socket is or could be.
type PathFacts struct {
	// Path is the path with all links followed.
	Path string `json:"path"`
	// Kind is what is there, and ID its identity; a repair replaces no other.
	Kind rootfs.Kind `json:"kind"`
	ID   rootfs.ID   `json:"-"`
	// Live says that somebody listens there.
	Live bool `json:"live"`
	// Problem is why no message can be sent there, or empty.
	Problem string `json:"problem,omitempty"`
	// Sharing says whether the path belongs to this container alone.
	Sharing Sharing `json:"sharing"`
	// Foreign says that the listener belongs to another container with the same root
	// directory.
	Foreign bool `json:"foreign,omitempty"`
	// Here says that the listener is in this program's mount namespace. It is set only if
	// a plan depends on it.
	Here bool `json:"here,omitempty"`
	// Unwritable is why nothing can be created there, or empty.
	Unwritable string `json:"unwritable,omitempty"`
	// Closed is a directory on the way that only its owner may enter; empty if every user
	// may.
	Closed string `json:"closed,omitempty"`
	// MountAt is the directory over which the container's own tmpfs could be mounted to
	// make the path private; empty if there is no such directory.
	MountAt string `json:"mount_at,omitempty"`
}

// intruded returns whether a container's daemon has replaced /dev/log of a prepared host while
// the host's daemon still listens on its own socket: all messages reach that container.
func (f Facts) intruded() bool {
	return f.HostPrepared() && f.HostSocket.Live && !f.HostSocket.Foreign && f.Log.Kind == rootfs.Socket && f.Log.Target.Live &&
		f.HostSocket.ID != f.Log.ID && f.Log.Intruder
}

// free returns whether a socket can be bound there and nobody loses anything.
func (p PathFacts) free() bool {
	return p.Kind == rootfs.Absent || p.Kind == rootfs.Socket && !p.Live
}

// blocked returns whether nothing can be created there, not even after a mount.
func (p PathFacts) blocked() bool { return p.Unwritable != "" && p.MountAt == "" }

// socketOrNothing returns whether there is no file of another type.
func (p PathFacts) socketOrNothing() bool {
	return p.Kind == rootfs.Absent || p.Kind == rootfs.Socket
}

// Alive returns whether the receiver runs, as far as this program can tell.
func (f ReceiverFacts) Alive() bool { return f.State == Running || f.State == Elsewhere }
