// Package notify owns what a program tells its service manager (sd_notify(3)): its state, and
// the files to keep for its next process.
package notify

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Variable has the socket of the service manager (sd_notify(3)).
const Variable = "NOTIFY_SOCKET"

// Send sends a state, such as "READY=1", to the service manager (sd_notify(3)), and passes
// it open files to keep (FDSTORE=1). It does nothing without a service manager.
func Send(state string, fds ...int) error {
	name := os.Getenv(Variable)
	if name == "" {
		return nil
	}
	if name[0] != '/' && name[0] != '@' {
		return fmt.Errorf("cannot tell the service manager at %s=%q: %w", Variable, name, unix.EAFNOSUPPORT)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot tell the service manager: %w", err)
	}
	defer unix.Close(fd)
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	// x/sys/unix writes the NUL of an abstract name as @.
	if err := unix.Sendmsg(fd, []byte(state), rights, &unix.SockaddrUnix{Name: name}, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("cannot tell the service manager: %w", err)
	}
	return nil
}

// Managed returns whether there is a service manager.
func Managed() bool { return os.Getenv(Variable) != "" }

// Keep gives the service manager an open file to keep for the next process of this service.
func Keep(name string, fd int) error { return Send("FDSTORE=1\nFDPOLL=0\nFDNAME="+name, fd) }

// Unkeep has the service manager close the files that it keeps with that name.
func Unkeep(name string) error { return Send("FDSTOREREMOVE=1\nFDNAME=" + name) }
