package running

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/changes"
	"devlog/internal/daemon"
	"devlog/internal/pidfd"
	"devlog/internal/rootfs"
	"devlog/internal/target"
)

// End ends the receivers of the directory's record and waits until they have written their
// messages. The record names one of them, or none if a repair was killed before it could
// record it.
func End(at *rootfs.Dir) error {
	pids := In(at)
	for range maxRestarts {
		r := changes.Read(at)
		if len(pids) == 0 {
			if pid := waitRestarted(r, at); pid > 0 {
				pids = append(pids, pid)
			}
		}
		for _, pid := range pids {
			if err := endReceiverAt(pid, at); err != nil {
				return err
			}
		}
		// A receiver that ends removes its record. If the record is still there, the
		// receiver was being killed already, and systemd restarts it.
		if r = changes.Read(at); len(pids) == 0 || r == nil || r.Unit == "" || r.Host {
			return nil
		}
		pids = nil
	}
	return nil
}

// endTimeout is how long a receiver may take to write its messages and end.
const endTimeout = 15 * time.Second

// maxRestarts is how many restarted receivers are ended in a row.
const maxRestarts = 3

// endReceiverAt ends the process if it is a receiver of that directory.
func endReceiverAt(pid int, at *rootfs.Dir) error {
	handle, err := pidfd.Open(pid)
	if err != nil {
		return nil // it has ended
	}
	defer handle.Close()
	if !isReceiverAt(pid, at) {
		return nil // another process with the same ID
	}
	if AtNode(pid) {
		return endAtNode(at)
	}
	return endReceiver(handle)
}

// In returns the receivers that have the directory open, as far as this process can see.
func In(at *rootfs.Dir) (pids []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && isReceiverAt(pid, at) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// signalAgain is how long to wait before another signal.
const signalAgain = time.Second

// endReceiver ends the receiver of the pidfd.
func endReceiver(handle *os.File) error {
	fd := int(handle.Fd())
	for deadline := time.Now().Add(endTimeout); !target.Ended(handle); {
		// On SIGTERM it continues until its container ends. It may miss a signal during
		// an upgrade.
		if err := unix.PidfdSendSignal(fd, unix.SIGINT, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("cannot end the receiver: %w", err)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("cannot end the receiver: it still runs after %s; hint: check the files that it writes to", endTimeout)
		}
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(min(left, signalAgain).Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("cannot wait for the receiver: %w", err)
		}
	}
	return nil
}

// waitRestarted waits until systemd has restarted the receiver of the directory's record,
// and returns its process ID; 0 if the receiver is not a service or is not restarted. A
// forged record only makes this wait.
func waitRestarted(r *changes.Changes, at *rootfs.Dir) int {
	if r == nil || r.Unit == "" || !daemon.Booted() {
		return 0
	}
	return restart.wait(func() int {
		for _, pid := range In(at) {
			if UnitOf(pid) != "" {
				return pid
			}
		}
		return 0
	})
}
