// Package running owns the receivers that run: it finds the one that a record names, describes
// how it is confined, and ends it.
package running

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"devlog/internal/changes"
	"devlog/internal/memfd"
	"devlog/internal/names"
	"devlog/internal/pidfd"
	"devlog/internal/plan"
	"devlog/internal/record"
	"devlog/internal/rootfs"
	"devlog/internal/target"
)

// Process returns a pidfd of the receiver that the record in the directory at names; nil if
// it has ended or cannot be seen from here. The record may be forged: only a receiver of
// that directory is returned.
func Process(r *changes.Changes, at *rootfs.Dir) *os.File {
	if r == nil || r.Receiver <= 0 {
		return nil
	}
	if own, err := target.Namespace("self", "pid"); err != nil || own != r.PIDNS {
		return nil
	}
	pid := r.Receiver
	if !isReceiverOf(pid, r.Started, at) {
		pid = waitRestarted(r, at)
	}
	handle, err := pidfd.Open(pid)
	if err != nil {
		return nil
	}
	if !isReceiverAt(pid, at) || target.Ended(handle) {
		handle.Close()
		return nil
	}
	return handle
}

// isReceiverOf returns whether the process that started at that time is devlogd and has the
// directory open, as every receiver has the directory of its record.
func isReceiverOf(pid int, started string, at *rootfs.Dir) bool {
	return record.Process{PID: pid, Started: started}.Runs() && isReceiverAt(pid, at)
}

// isReceiverAt is isReceiverOf without the start time.
func isReceiverAt(pid int, at *rootfs.Dir) bool {
	exe, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	if err != nil || !isReceiverExe(exe) || pidfd.Forked(pid) {
		return false
	}
	want, err := at.Self()
	if err != nil {
		return false
	}
	ids, err := openFileIDs(pid)
	return err == nil && slices.Contains(ids, want.ID)
}

// isReceiverExe returns whether a /proc/PID/exe points to devlogd, which may run from memory or
// have been replaced by an upgrade.
func isReceiverExe(exe string) bool {
	exe = strings.TrimSuffix(exe, " (deleted)")
	return exe == memfd.Prefix+names.Receiver || filepath.Base(exe) == names.Receiver
}

// Facts returns the facts about the receiver that the record in the directory at names. before
// are the facts from another record, or from an earlier call.
func Facts(r *changes.Changes, t *target.Target, at *rootfs.Dir, before plan.ReceiverFacts) plan.ReceiverFacts {
	if r != nil && r.Starting != 0 && t.Watcher == 0 {
		if !Sees(r, t) {
			return plan.ReceiverFacts{State: plan.Elsewhere}
		}
		if pid, _ := newest(at); pid != 0 {
			return plan.ReceiverFacts{State: plan.Running, PID: pid, Rights: rightsOf(pid)}
		}
	}
	if r == nil || r.Receiver <= 0 || before.State == plan.Gone && before.PID == r.Receiver {
		return before
	}
	if own, err := target.Namespace("self", "pid"); err == nil && own != r.PIDNS {
		return factsInside(r, t, at)
	}
	// systemd may have restarted it; the record still names the process before.
	if t.Watcher != 0 && (t.Watcher == r.Receiver || r.Unit != "") {
		return plan.ReceiverFacts{State: plan.Running, PID: t.Watcher, Rights: rightsOf(t.Watcher), Unit: r.Unit}
	}
	handle := Process(r, at)
	if handle == nil {
		return plan.ReceiverFacts{State: plan.Gone, PID: r.Receiver, Unit: r.Unit}
	}
	defer handle.Close()
	pid, err := pidfd.PID(int(handle.Fd()))
	if err != nil { // it has just ended
		return plan.ReceiverFacts{State: plan.Gone, PID: r.Receiver, Unit: r.Unit}
	}
	f := plan.ReceiverFacts{State: plan.Running, PID: pid, Rights: rightsOf(pid)}
	if r.Unit != "" || r.Host { // otherwise the service of the process that started it
		f.Unit = UnitOf(pid)
	}
	return f
}

// factsInside returns the facts about a receiver in another PID namespace. The host can see
// a container's.
func factsInside(r *changes.Changes, t *target.Target, at *rootfs.Dir) plan.ReceiverFacts {
	if t.Inside || t.PIDNS != r.PIDNS {
		return plan.ReceiverFacts{State: plan.Elsewhere}
	}
	for _, pid := range In(at) {
		status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		if ns, nerr := target.Namespace(strconv.Itoa(pid), "pid"); err == nil && nerr == nil && ns == r.PIDNS && target.InnermostPID(string(status)) == r.Receiver {
			return plan.ReceiverFacts{State: plan.Running, PID: pid, Rights: rightsOf(pid)}
		}
	}
	return plan.ReceiverFacts{State: plan.Gone} // its ID meant nothing here
}

// Alive returns whether the receiver that the record in the directory at names runs. One in
// another PID namespace that cannot be seen counts as running.
func Alive(r *changes.Changes, t *target.Target, at *rootfs.Dir) bool {
	return Facts(r, t, at, plan.ReceiverFacts{}).Alive()
}
