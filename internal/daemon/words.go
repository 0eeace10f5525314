package daemon

// What the repair command needs in the receiver's sandbox. The hook passes it to the receiver
// (--command-needs).
const (
	NeedsNames  = "names"  // to create names in the container, as root
	NeedsHost   = "host"   // to create names in /dev and /run/devlog of the host
	NeedsIDs    = "ids"    // as NeedsNames, but as the container's root, who is another user
	NeedsMounts = "mounts" // to mount, which Landlock forbids
)

// ConfinedPrefix begins the name of the file in memory (memfd_create(2)) by which a receiver
// tells the hook how it is confined: /proc does not show Landlock.
const ConfinedPrefix = "devlogd: "
