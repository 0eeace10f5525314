// Package rights receives open files that come with a message (SCM_RIGHTS of unix(7)).
package rights

import (
	"errors"

	"golang.org/x/sys/unix"
)

// ErrMissing means that a message came without a part of it.
var ErrMissing = errors.New("more than this program accepts, or more than it may open")

// Receive reads one message into text, without waiting, and returns its length and the descriptors
// that came with it. With ErrMissing there was more text, or there were more descriptors than most
// or than this process may open; the others are returned.
func Receive(socket int, text []byte, most int) (n int, fds []int, err error) {
	oob := make([]byte, unix.CmsgSpace(most*4))
	n, oobn, flags, _, err := unix.Recvmsg(socket, text, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return 0, nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	for i := range messages {
		var more []int
		if more, err = unix.ParseUnixRights(&messages[i]); err != nil {
			break
		}
		fds = append(fds, more...)
	}
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = ErrMissing
	}
	return n, fds, err
}
