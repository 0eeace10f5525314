// Package names owns the names that a repair makes and looks for: in /dev, and
// beside the private socket.
package names

import "strings"

// The names, in a container or on the host.
const (
	// Dev is the directory of Log.
	Dev = "/dev"
	// Log is the name in Dev to which syslog(3) sends.
	Log     = "log"
	LogPath = Dev + "/" + Log
	// HostSocket is the host's own socket in Dev on a prepared host.
	HostSocket = ".devlog-host"
	// Old is the name in Dev to which a repair renames a Log that is in the way.
	Old     = Log + ".devlog-old"
	OldPath = Dev + "/" + Old
	// DefaultSocket is the default path of the private socket.
	DefaultSocket = "/run/devlog/log"
	// JournalSocket is the path to which /dev/log points on a host with systemd.
	JournalSocket = "/run/systemd/journal/dev-log"
	// JournalEntries is where programs send entries of systemd's journal, and JournalStdout
	// where systemd-cat(1) connects their standard output.
	JournalEntries = "/run/systemd/journal/socket"
	JournalStdout  = "/run/systemd/journal/stdout"
	// TempPrefix begins the name of a file that is prepared beside another and then renamed.
	TempPrefix = ".devlog-tmp-"
	// JournalTemp begins it for a socket of the journal. The kernel keeps the name with which a
	// socket was bound: a receiver without a description knows the socket by that.
	JournalTemp = TempPrefix + "journal-"
	// Record is the file beside the private socket in which a repair records what it changed.
	Record = ".devlog-repair"
	// Link is the link beside the private socket that a repair mounts over /dev/log.
	Link = ".devlog-link"
	// NoteSuffix ends the name of a note that says why a hook could not repair.
	NoteSuffix = ".log"
	// Hook is the file name of the hook's program. AutoRepair is its command that repairs again for
	// a receiver, and RepairLost the one that does so for all containers of a service that has
	// lost their sockets.
	Hook       = "devlog-hook"
	AutoRepair = "auto-repair"
	RepairLost = "repair-lost"
	// HostUnit is the systemd service that prepares the host. Its main process is the watcher.
	HostUnit = "devlog-host.service"
	// Receiver is the file name of the receiver's program.
	Receiver = "devlogd"
)

// OfJournal returns whether a path is one of the journal's.
func OfJournal(path string) bool { return path == JournalEntries || path == JournalStdout }

// BoundForJournal returns whether a socket that was bound with this path is one of the
// journal's: a repair, or a service manager, has bound it so.
func BoundForJournal(path string) bool {
	return strings.Contains(path, "/"+JournalTemp) || strings.HasSuffix(path, JournalEntries) || strings.HasSuffix(path, JournalStdout)
}
