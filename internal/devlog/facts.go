// Package devlog owns the repair: it inspects what /dev/log is in a container,
// plans what to do about it, and does it.
//
// The three parts are apart: Inspect gathers Facts with system calls that
// change nothing, NewPlan is a pure function of facts and options, and Apply
// carries a plan's steps out and takes them back where one fails.
package devlog

import "devlog/internal/rootfs"

// The names everything is about, in the container.
const (
	devDir  = "/dev"
	logName = "log"
	logPath = "/dev/log"
	// hostName is the hard link in /dev that keeps the host's own socket
	// reachable once the host is prepared.
	hostName = ".devlog-host"
	// DefaultSocket is where /dev/log leads if nothing says otherwise.
	DefaultSocket = "/run/devlog/log"
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
	// HostPrepared says that the host's daemon is reachable beside /dev/log.
	HostPrepared bool `json:"host_prepared"`
	// MayMount says that this program may mount in the container.
	MayMount bool `json:"may_mount"`

	Dev DevFacts `json:"dev"`
	Log LogFacts `json:"log"`
	// Socket is the private socket, that /dev/log should lead to.
	Socket PlaceFacts `json:"socket"`
}

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
	// Link is the link's text, if the name is one.
	Link string `json:"link,omitempty"`
	// Leads is where the name leads: /dev/log itself if it is no link.
	Leads PlaceFacts `json:"leads_to"`
}

// PlaceFacts are the facts about a place where a socket is or could be.
type PlaceFacts struct {
	// Path is the place's path with all links followed.
	Path string `json:"path"`
	// Kind is what is there.
	Kind rootfs.Kind `json:"kind"`
	// Live says that somebody listens there.
	Live bool `json:"live"`
	// Problem is why a message cannot be sent there, or empty.
	Problem string `json:"problem,omitempty"`
	// Sharing says whether the place is of this container alone.
	Sharing Sharing `json:"sharing"`
}

// free says that a socket can be made at the place: nobody loses anything.
func (p PlaceFacts) free() bool {
	return p.Kind == rootfs.Absent || p.Kind == rootfs.Socket && !p.Live
}

// socketOrNothing says that the place holds no file of another type.
func (p PlaceFacts) socketOrNothing() bool {
	return p.Kind == rootfs.Absent || p.Kind == rootfs.Socket
}
