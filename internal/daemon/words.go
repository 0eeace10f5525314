package daemon

// What the command that repairs needs in the receiver's sandbox, as the hook tells
// it to the receiver (--command-needs).
const (
	NeedsNames  = "names"  // to make names in the container, as root
	NeedsHost   = "host"   // to make names in /dev and /run/devlog: it is the host
	NeedsIDs    = "ids"    // as NeedsNames, as the container's root, who is another user
	NeedsMounts = "mounts" // to mount, which Landlock denies everybody
)

// ConfinedPrefix begins the name of the file in memory (memfd_create(2)) by which a
// receiver tells the hook how it is confined: nothing else in /proc tells of
// Landlock.
const ConfinedPrefix = "devlogd: "
