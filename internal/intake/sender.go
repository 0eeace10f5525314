package intake

import (
	"golang.org/x/sys/unix"

	"devlog/internal/syslog"
)

// overflowID is the kernel's ID for a user or group without a number here, and for messages
// that were sent before SO_PASSCRED was set.
const overflowID = 65534

func sender(c *unix.Ucred) syslog.Sender {
	if c.Pid == 0 && c.Uid == overflowID && c.Gid == overflowID {
		return syslog.Sender{}
	}
	return syslog.Sender{Known: true, PID: c.Pid, UID: c.Uid, GID: c.Gid}
}
