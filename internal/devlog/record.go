package devlog

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/pidfd"
	"devlog/internal/rootfs"
)

// record is what a repair notes beside the private socket before it changes
// anything, so that it can be undone, also after a crash. It lies in the
// container: what it says is never trusted with more than that container.
type record struct {
	// MountNS and PIDNS tell the container's namespaces from another's that
	// has the same root directory.
	MountNS uint64 `json:"mount_ns"`
	// Receiver is the receiver's process, in the PID namespace PIDNS, Started
	// the time of its start; see proc_pid_stat(5).
	Receiver int    `json:"receiver,omitempty"`
	PIDNS    uint64 `json:"pid_ns,omitempty"`
	Started  string `json:"started,omitempty"`
	// Unit is the service of systemd's that the receiver is, if it is one: then
	// other processes follow on Receiver.
	Unit string `json:"unit,omitempty"`
	// Was, WasLink and WasOwner are what /dev/log was before the first repair.
	Was      rootfs.Kind  `json:"was"`
	WasLink  string       `json:"was_link,omitempty"`
	WasOwner rootfs.Owner `json:"was_owner"`
	// Set is the text of the link that /dev/log was made, if it was.
	Set string `json:"set,omitempty"`
	// Aside says that what was there was renamed, to asideName, and is the target's
	// to be given back. Where others share /dev they may rely on the link by then.
	Aside bool `json:"aside,omitempty"`
	// Mounted says that a link was mounted over /dev/log.
	Mounted bool `json:"mounted,omitempty"`
	// Pointed is the place that was made a link to the private socket; empty if
	// /dev/log leads to that itself.
	Pointed string `json:"pointed,omitempty"`
	// Made are the directories that were made, outermost first.
	Made []string `json:"made,omitempty"`
	// Socket is the private socket's path.
	Socket string `json:"socket"`
	// Host says that it is the host that was prepared.
	Host bool `json:"host,omitempty"`
}

// readRecord returns the record in the directory, or nil if there is none, or
// none that can be read: a repair does not depend on it. It is a link's text, or
// a regular file of an earlier version or where a link is too short.
func readRecord(d *rootfs.Dir) *record {
	data, err := d.ReadNote(recordName)
	if err != nil {
		return nil
	}
	var r record
	if json.Unmarshal(data, &r) != nil {
		return nil
	}
	return &r
}

// addMade notes directories that were made.
func (r *record) addMade(made []rootfs.Made) {
	for _, m := range made {
		r.Made = append(r.Made, path.Join(m.Parent.Path(), m.Name))
	}
	slices.Sort(r.Made) // outermost first
}

func (r *record) write(d *rootfs.Dir) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("note what undo needs: %w", err)
	}
	return d.WriteNote(recordName, data)
}

// trusted says whether what the record says of /dev/log may be put there, with
// this process's rights and for everybody who shares it. Whoever made the
// container's root directory may have forged it, but cannot know the number of
// the namespace that the container will run in; what runs inside has no other
// rights than the container.
func (r *record) trusted(t *Target) bool {
	return t.inside || r.MountNS == t.mountNS
}

// process returns a pidfd of the receiver that the record in the directory at
// names, or nil if it has ended, or is not seen from here. The record may be
// forged: a process that is no receiver of that directory's is never returned.
func (r *record) process(at *rootfs.Dir) *os.File {
	if r == nil || r.Receiver <= 0 {
		return nil
	}
	if own, err := namespace("self", "pid"); err != nil || own != r.PIDNS {
		return nil
	}
	pid := r.Receiver
	if !isReceiverOf(pid, r.Started, at) {
		pid = r.waitRestarted(at)
	}
	handle, err := pidfd.Open(pid)
	if err != nil {
		return nil
	}
	if !isReceiverAt(pid, at) || ended(handle) {
		handle.Close()
		return nil
	}
	return handle
}

// isReceiverOf says whether the process, that began at that time, is devlogd
// and has the directory open, as every receiver has that of its record.
func isReceiverOf(pid int, started string, at *rootfs.Dir) bool {
	now, err := pidfd.StartTime(pid)
	return err == nil && now == started && isReceiverAt(pid, at)
}

// isReceiverAt is isReceiverOf for a process of any time.
func isReceiverAt(pid int, at *rootfs.Dir) bool {
	proc := "/proc/" + strconv.Itoa(pid)
	exe, err := os.Readlink(proc + "/exe")
	if err != nil || !isReceiverExe(exe) {
		return false
	}
	want, err := at.Self()
	if err != nil {
		return false
	}
	fds, err := filepath.Glob(proc + "/fd/*")
	if err != nil {
		return false
	}
	return slices.ContainsFunc(fds, func(fd string) bool {
		// Not to be held up by a file system that a container has made itself.
		var st unix.Statx_t
		if err := unix.Statx(unix.AT_FDCWD, fd, unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &st); err != nil {
			return false
		}
		return rootfs.ID{Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino} == want.ID
	})
}

// isReceiverExe says whether a /proc/PID/exe leads to devlogd, maybe one that
// was run from memory, or replaced by an upgrade since.
func isReceiverExe(exe string) bool {
	exe = strings.TrimSuffix(exe, " (deleted)")
	return exe == "/memfd:"+receiverName || filepath.Base(exe) == receiverName
}

// facts are those about the receiver that the record in the directory at names.
// before is what was found of another record, or the same one.
func (r *record) facts(t *Target, at *rootfs.Dir, before ReceiverFacts) ReceiverFacts {
	if r == nil || r.Receiver <= 0 || before.State == Gone && before.PID == r.Receiver {
		return before
	}
	if own, err := namespace("self", "pid"); err == nil && own != r.PIDNS {
		return r.inside(t, at)
	}
	// systemd may have started it anew, after which its record names the one before.
	if t.keeper != 0 && (t.keeper == r.Receiver || r.Unit != "") {
		return ReceiverFacts{State: Running, PID: t.keeper, Rights: rightsOf(t.keeper), Unit: r.Unit}
	}
	handle := r.process(at)
	if handle == nil {
		return ReceiverFacts{State: Gone, PID: r.Receiver, Unit: r.Unit}
	}
	defer handle.Close()
	pid, err := pidfd.PID(int(handle.Fd()))
	if err != nil { // it has ended a moment ago
		return ReceiverFacts{State: Gone, PID: r.Receiver, Unit: r.Unit}
	}
	f := ReceiverFacts{State: Running, PID: pid, Rights: rightsOf(pid)}
	if r.Unit != "" { // another service's process may have started it
		f.Unit = unitOf(pid)
	}
	return f
}

// inside are the facts about a receiver in another PID namespace. That of a
// container is seen from the host.
func (r *record) inside(t *Target, at *rootfs.Dir) ReceiverFacts {
	if t.inside || t.pidNS != r.PIDNS {
		return ReceiverFacts{State: Elsewhere}
	}
	for _, pid := range receiversAt(at) {
		status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		if ns, nerr := namespace(strconv.Itoa(pid), "pid"); err == nil && nerr == nil && ns == r.PIDNS && innermostPID(string(status)) == r.Receiver {
			return ReceiverFacts{State: Running, PID: pid, Rights: rightsOf(pid)}
		}
	}
	return ReceiverFacts{State: Gone, PID: r.Receiver}
}

// alive says that the receiver runs, as far as can be told.
func (f ReceiverFacts) alive() bool { return f.State == Running || f.State == Elsewhere }

// alive says whether the receiver that the record in the directory at names
// runs. One of another PID namespace is not seen from here; it counts as running.
func (r *record) alive(t *Target, at *rootfs.Dir) bool {
	return r.facts(t, at, ReceiverFacts{}).alive()
}
