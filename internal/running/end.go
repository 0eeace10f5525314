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

// End ends the receivers of the record in the directory at, and waits
// until they have written what they have. The record itself names one, or none
// where a repair was killed before it could note it.
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
		// A receiver that ends removes its record: one that has left it was being
		// killed already, and systemd starts it anew.
		if r = changes.Read(at); len(pids) == 0 || r == nil || r.Unit == "" || r.Host {
			return nil
		}
		pids = nil
	}
	return nil
}

// endTimeout is how long a receiver may take to write what it has and end.
const endTimeout = 15 * time.Second

// maxRestarts is how many receivers are ended one after the other because the one
// before was killed.
const maxRestarts = 3

// endReceiverAt ends the process if it is a receiver of that directory's.
func endReceiverAt(pid int, at *rootfs.Dir) error {
	handle, err := pidfd.Open(pid)
	if err != nil {
		return nil // it has ended
	}
	defer handle.Close()
	if !isReceiverAt(pid, at) {
		return nil // another one that got the same process ID
	}
	return endReceiver(handle)
}

// In are the receivers that are seen from here and have the directory
// open.
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

// signalAgain is the time after which a receiver that has not ended is told again.
const signalAgain = time.Second

// endReceiver ends the receiver that this is a handle of.
func endReceiver(handle *os.File) error {
	fd := int(handle.Fd())
	for deadline := time.Now().Add(endTimeout); !target.Ended(handle); {
		// On SIGTERM it goes on until its container ends. One that is being upgraded
		// may miss a signal.
		if err := unix.PidfdSendSignal(fd, unix.SIGINT, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end the receiver: %w", err)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("end the receiver: it has not ended for %s; look at what it writes to", endTimeout)
		}
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(min(left, signalAgain).Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for the receiver: %w", err)
		}
	}
	return nil
}

// restartTime is how long it may take until systemd has started a receiver anew:
// it waits for a tenth of a second first.
const restartTime = 3 * time.Second

// waitRestarted waits until systemd has started the receiver of the record in
// the directory at anew, if it is a service, and returns its process ID; 0 if
// that does not happen. The record may be forged: it is only waited for.
func waitRestarted(r *changes.Changes, at *rootfs.Dir) int {
	if r == nil || r.Unit == "" || daemon.CanSupervise() != nil {
		return 0
	}
	for deadline := time.Now().Add(restartTime); ; time.Sleep(20 * time.Millisecond) {
		for _, pid := range In(at) {
			if UnitOf(pid) != "" {
				return pid
			}
		}
		if time.Now().After(deadline) {
			return 0
		}
	}
}
