package watcher

import (
	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/names"
)

// The daemon of a prepared host receives at the name names.HostSocket in /dev. Root of any
// container that shares /dev can remove that name, or bind its own socket there and receive
// the host's messages. /dev/log itself does not change then.

// hostSocket is what the watcher of a host knows about that name.
type hostSocket struct {
	watched bool
	id      file.ID // of the socket; zero for none
	log     mark    // what was at /dev/log at that time
	lost    bool    // a container may receive what is sent to /dev/log
}

// socketOfHost returns the identity of the host's socket; zero if there is no socket.
func (c *container) socketOfHost() file.ID {
	dev, err := c.openDev()
	if err != nil {
		return file.ID{}
	}
	defer unix.Close(dev)
	id, mode := Name{Dir: dev, Name: names.HostSocket}.lookup()
	if mode != unix.S_IFSOCK {
		return file.ID{}
	}
	return id
}

// hostChanged returns whether the host's socket was replaced or removed.
func (c *container) hostChanged() bool { return c.host.watched && c.socketOfHost() != c.host.id }

// hostGone returns whether the host's socket has no name any more.
func (c *container) hostGone() bool { return c.hostChanged() && c.socketOfHost() == file.ID{} }

// noteHost records the host's present socket.
func (c *container) noteHost() {
	if c.host.watched {
		c.host.id, c.host.log = c.socketOfHost(), c.devLog()
	}
}

// armHost watches the name of the host's socket.
func (w *Watcher) armHost() error {
	if !w.container.host.watched {
		return nil
	}
	dev, err := w.container.openDev()
	if err != nil {
		return err
	}
	defer unix.Close(dev)
	return w.watches.Add(dev, names.HostSocket, false)
}

// hostAfterRun records the host's socket after a repair. If somebody removed or replaced it,
// it returns what to tell the administrator. gone says that the socket had no name before the
// repair, which makes another. repaired says that the repair changed something.
func (c *container) hostAfterRun(gone, repaired bool) (text string) {
	if !gone && !c.hostChanged() {
		return ""
	}
	was := c.host.log
	c.noteHost()
	switch {
	case gone, c.host.id == file.ID{}:
		return "somebody removed /dev/" + names.HostSocket + ", the host's socket; hint: restart the host's syslog daemon"
	case repaired || c.host.log != was: // the daemon restarted, and a repair moved its new socket
		return ""
	}
	return "somebody replaced /dev/" + names.HostSocket + ", the host's socket; hint: restart the host's syslog daemon, unless you just did"
}
