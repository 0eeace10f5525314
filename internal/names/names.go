// Package names owns the names that a repair makes and looks for: in /dev, and
// beside the private socket.
package names

// The names everything is about, in the container.
const (
	Dev     = "/dev"
	Log     = "log"
	LogPath = "/dev/log"
	// HostSocket is the hard link in /dev that keeps the host's own socket
	// reachable once the host is prepared.
	HostSocket = ".devlog-host"
	// Old is what /dev/log is called once it is moved aside.
	Old     = Log + ".devlog-old"
	OldPath = Dev + "/" + Old
	// DefaultSocket is where /dev/log leads if nothing says otherwise.
	DefaultSocket = "/run/devlog/log"
	// JournalSocket is where /dev/log leads on a host with systemd.
	JournalSocket = "/run/systemd/journal/dev-log"
	// Record is the file beside a private socket in which a repair notes
	// what it changed.
	Record = ".devlog-repair"
	// Link is the link beside a private socket that is mounted over
	// /dev/log.
	Link = ".devlog-link"
	// NoteSuffix ends the name of a note: why a hook could not repair.
	NoteSuffix = ".log"
	// Receiver is the receiver's program.
	Receiver = "devlogd"
)
