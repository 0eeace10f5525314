package devlogd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/handover"
)

// lingering is a socket whose close waits, until a signal comes: its peer does not read what
// it has sent.
func lingering(t *testing.T) int {
	t.Helper()
	socket := func() int {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	peer, fd := socket(), socket()
	t.Cleanup(func() { _ = unix.Close(peer) })
	err := errors.Join(unix.Bind(peer, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(peer, 1))
	at, nameErr := unix.Getsockname(peer)
	if err = errors.Join(err, nameErr, unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 100000})); err == nil {
		err = errors.Join(unix.Connect(fd, at), unix.SetNonblock(fd, true))
	}
	for full := make([]byte, 1<<16); err == nil; {
		_, err = unix.Write(fd, full)
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, false); err != nil { // otherwise the close does not wait
		t.Fatal(err)
	}
	return fd
}

// Whoever passes files whose close waits does not hold up the receiver, also where the kernel
// lets him pass them (before Linux 6.16): these are queued before the receiver starts.
func TestFilesThatWaitToBeClosed(t *testing.T) {
	for _, tt := range []struct {
		name, socket string
		kind         int
		message      string
	}{
		{"datagrams", handover.NameSocket, unix.SOCK_DGRAM, "<13>x: %s"},
		{"a stream", handover.NameSocket, unix.SOCK_STREAM, "<13>x: %s\n"},
		{"entries of the journal", handover.NameJournal, unix.SOCK_DGRAM, "SYSLOG_IDENTIFIER=x\nMESSAGE=%s\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
			fd, err := unix.Socket(unix.AF_UNIX, tt.kind|unix.SOCK_CLOEXEC, 0)
			if err == nil {
				err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
			}
			if tt.kind == unix.SOCK_STREAM {
				err = errors.Join(err, unix.Listen(fd, 8))
			}
			if err != nil {
				t.Fatal(err)
			}
			connect := dial
			if tt.kind == unix.SOCK_STREAM {
				connect = func(t *testing.T, path string) int { return dialStream(t, path) }
			}
			client := connect(t, path)
			for _, n := range []int{1, 5, 1} {
				var fds []int
				for range n {
					fds = append(fds, lingering(t))
				}
				if err := unix.Sendmsg(client, fmt.Appendf(nil, tt.message, "passes"), unix.UnixRights(fds...), nil, 0); err != nil {
					t.Fatal(err)
				}
				for _, fd := range fds {
					_ = unix.Close(fd) // the last one is on its way
				}
			}
			d := startReady(t, []passed{{tt.socket, os.NewFile(uintptr(fd), path)}}, "--rule", "*.* -"+log)
			send(t, connect(t, path), fmt.Sprintf(tt.message, "last"))
			await(t, log, "x: last")
			before := openFiles(t, d.cmd.Process.Pid)
			err = unix.Sendmsg(client, fmt.Appendf(nil, tt.message, "more"), unix.UnixRights(0), nil, 0)
			if err != nil && (!errors.Is(err, unix.EPERM) || tt.socket == handover.NameJournal) {
				t.Error(err)
			}
			send(t, client, fmt.Sprintf(tt.message, "end"))
			await(t, log, "x: end")
			if after := openFiles(t, d.cmd.Process.Pid); after != before {
				t.Errorf("%d descriptors before, %d after", before, after)
			}
			d.stop()
		})
	}
}
