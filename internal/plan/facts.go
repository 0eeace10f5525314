// Package plan owns the decision what to do about /dev/log: a pure function of facts
// and of what the user chose. It makes no system calls.
package plan

import (
	"devlog/internal/rootfs"
)

// Sharing says whether something in a container is also somebody else's.
type Sharing string

// Unknown is treated as Shared wherever a wrong guess could harm others.
const (
	Private Sharing = "private"
	Shared  Sharing = "shared"
	Unknown Sharing = "unknown"
)

// Facts are what a repair depends on. Paths are inside the container.
type Facts struct {
	// Inside says that this program runs in the container's namespaces.
	Inside bool `json:"inside"`
	// Host says that this is the host itself, no container.
	Host bool `json:"host"`
	// HostSocket is what the host's socket is known by once the host is
	// prepared: absent if it is not.
	HostSocket SocketFacts `json:"host_socket"`
	// NotRoot says that this program lacks root's rights.
	NotRoot bool `json:"not_root,omitempty"`
	// MayMount says that this program may mount in the container.
	MayMount bool `json:"may_mount"`
	// MayPrepare says that this program runs on the host, and may prepare it.
	MayPrepare bool `json:"may_prepare"`

	Dev DevFacts `json:"dev"`
	Log LogFacts `json:"log"`
	// Socket is the private socket, that /dev/log should lead to.
	Socket PlaceFacts `json:"socket"`
	// NotHost is why this cannot be the host, where it should be, or empty.
	NotHost string `json:"not_host,omitempty"`
	// Watcher says that a receiver of an earlier repair is there and sees to it
	// that the repair stays.
	Watcher bool `json:"watcher"`
	// Receiver is what has become of that receiver.
	Receiver ReceiverFacts `json:"receiver"`
}

// ReceiverFacts are the facts about the receiver that an earlier repair of the
// container has started, or with --receiver none the keeper of that repair.
type ReceiverFacts struct {
	// State is Running, Elsewhere or Gone; empty if there has been none.
	State ReceiverState `json:"state,omitempty"`
	// PID is its process, where that is seen.
	PID int `json:"pid,omitempty"`
	// Unit is the service of systemd's that it is, or was; empty for none.
	Unit string `json:"unit,omitempty"`
	// Reason is what it said last in the journal, where it was a service and has gone;
	// empty if it said nothing. Check finds it.
	Reason string `json:"reason,omitempty"`
	// Rights is how it is confined; nil where it does not run.
	Rights *Rights `json:"rights,omitempty"`
}

// ReceiverState says whether a receiver is there.
type ReceiverState string

// Elsewhere is in another PID namespace, not seen from here; it counts as
// running.
const (
	Running   ReceiverState = "running"
	Elsewhere ReceiverState = "elsewhere"
	Gone      ReceiverState = "gone"
)

// SocketFacts are the facts about a name that is or was a socket's.
type SocketFacts struct {
	Kind rootfs.Kind `json:"kind"`
	ID   rootfs.ID   `json:"-"`
	Live bool        `json:"live"`
	// Foreign says that only processes with another root directory than the host's
	// listen there. It is looked for on the host, by root.
	Foreign bool `json:"foreign,omitempty"`
}

// hostReplaced says that on the host /dev/log leads to a container's daemon, which has
// put its socket in the place of the host's.
func (f Facts) hostReplaced() bool {
	return f.Host && f.HostSocket.Foreign && f.Log.Leads.ID == f.HostSocket.ID
}

// HostPrepared says that a repair of the host has been made.
func (f Facts) HostPrepared() bool { return f.HostSocket.Kind == rootfs.Socket }

// DevFacts are the facts about the directory /dev.
type DevFacts struct {
	// Kind is Directory, or Absent.
	Kind rootfs.Kind `json:"kind"`
	// FSType is the type of its file system, as in mountinfo, or empty.
	FSType string `json:"fstype"`
	// Sharing says whether it is the host's /dev too.
	Sharing Sharing `json:"sharing"`
	// Unwritable is the reason why no name can be made in it, or empty.
	Unwritable string `json:"unwritable,omitempty"`
}

// LogFacts are the facts about the name /dev/log.
type LogFacts struct {
	// Kind is what the name itself is.
	Kind rootfs.Kind `json:"kind"`
	// ID is the file's identity; a repair replaces no other.
	ID rootfs.ID `json:"-"`
	// Owner is whose the file is.
	Owner rootfs.Owner `json:"-"`
	// Link is the link's text, if the name is one.
	Link string `json:"link,omitempty"`
	// Known says that the link's own text names a place where a link may be left
	// that other containers can make.
	Known bool `json:"known,omitempty"`
	// OnHost says that somebody listens where the link leads on the host. It is
	// looked for only where this program may prepare that.
	OnHost bool `json:"on_host,omitempty"`
	// Old is what is there under the name that /dev/log gets once it is moved
	// aside.
	Old rootfs.Kind `json:"old,omitempty"`
	// Intruder says that on a prepared host no process of the host's, but a
	// container's, listens at the name, as far as that is seen from the host.
	Intruder bool `json:"intruder,omitempty"`
	// Mounted says that a socket where nobody listens is mounted over the name.
	Mounted bool `json:"mounted,omitempty"`
	// Leads is where the name leads: /dev/log itself if it is no link.
	Leads PlaceFacts `json:"leads_to"`
}

// PlaceFacts are the facts about a place where a socket is or could be.
type PlaceFacts struct {
	// Path is the place's path with all links followed.
	Path string `json:"path"`
	// Kind is what is there, and ID its identity; a repair replaces no other.
	Kind rootfs.Kind `json:"kind"`
	ID   rootfs.ID   `json:"-"`
	// Live says that somebody listens there.
	Live bool `json:"live"`
	// Problem is why a message cannot be sent there, or empty.
	Problem string `json:"problem,omitempty"`
	// Sharing says whether the place is of this container alone.
	Sharing Sharing `json:"sharing"`
	// Foreign says that who listens there does so for another container, that
	// has the same root directory.
	Foreign bool `json:"foreign,omitempty"`
	// Here says that who listens is in this program's mount namespace. It is
	// looked for only where a plan depends on it.
	Here bool `json:"here,omitempty"`
	// Unwritable is the reason why nothing can be made there, or empty.
	Unwritable string `json:"unwritable,omitempty"`
	// Closed is a directory on the way there that only its owner may enter; empty
	// if every user may go there.
	Closed string `json:"closed,omitempty"`
	// MountAt is the directory over which a file system of the container's own
	// could be mounted to make the place private; empty if there is none.
	MountAt string `json:"mount_at,omitempty"`
}

// intruded says that a daemon of a container has taken /dev/log of a prepared
// host, whose own daemon still listens on the socket that it had: everybody's
// messages reach that container.
func (f Facts) intruded() bool {
	return f.HostPrepared() && f.HostSocket.Live && !f.HostSocket.Foreign && f.Log.Kind == rootfs.Socket && f.Log.Leads.Live &&
		f.HostSocket.ID != f.Log.ID && f.Log.Intruder
}

// free says that a socket can be made at the place: nobody loses anything.
func (p PlaceFacts) free() bool {
	return p.Kind == rootfs.Absent || p.Kind == rootfs.Socket && !p.Live
}

// blocked says that nothing can be made at the place, not even after a mount.
func (p PlaceFacts) blocked() bool { return p.Unwritable != "" && p.MountAt == "" }

// socketOrNothing says that the place holds no file of another type.
func (p PlaceFacts) socketOrNothing() bool {
	return p.Kind == rootfs.Absent || p.Kind == rootfs.Socket
}

// Alive says that the receiver runs, as far as can be told.
func (f ReceiverFacts) Alive() bool { return f.State == Running || f.State == Elsewhere }
