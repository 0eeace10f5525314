package running

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/changes"
	"devlog/internal/file"
	"devlog/internal/pidfd"
	"devlog/internal/record"
	"devlog/internal/rootfs"
	"devlog/internal/target"
)

// started returns whether the process was started as the receiver of its Container. A process of
// this user's on the host is believed. Of any other, the record in its container must say so: root
// in there can forge it, but for that container only.
func (r Receiver) started() bool {
	proc := "/proc/" + strconv.Itoa(r.PID)
	status, err := file.Read(proc+"/status", maxCmdline)
	if err != nil {
		return false // it has ended
	}
	if r.OnHost && realUID(string(status)) == os.Geteuid() {
		return true
	}
	mounts, err := file.Read("/proc/"+strconv.Itoa(r.Container)+"/mountinfo", maxCmdline)
	if err != nil {
		return false
	}
	for _, fd := range openFiles(proc) {
		info, err := file.Read(proc+"/fdinfo/"+fd, maxCmdline)
		if err != nil {
			continue
		}
		if id, err := rootfs.ParseMountID(string(info)); err == nil && hasMount(string(mounts), id) && r.isRecordedIn(proc+"/fd/"+fd, string(status)) {
			return true
		}
	}
	return false
}

// isRecordedIn returns whether the record in the directory is the process's.
func (r Receiver) isRecordedIn(dir, status string) bool {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false // any other file
	}
	root := rootfs.FromHandle(os.NewFile(uintptr(fd), dir))
	defer root.Close()
	at, err := root.Dir("/")
	if err != nil {
		return false
	}
	defer at.Close()
	started, err := pidfd.StartTime(r.PID)
	if err == nil && (record.Process{PID: target.InnermostPID(status), Started: started}).NotedIn(at.FD()) {
		return true
	}
	// systemd may have restarted it; the record still names the process before.
	unit := UnitOf(r.PID)
	c := changes.Read(at)
	return c != nil && unit != "" && c.Unit == unit
}

// realUID returns the user in the text of a /proc/PID/status; -1 if it has none. The owner of
// /proc/PID is always root for a process that is not dumpable.
func realUID(status string) int {
	uid, _, _ := strings.Cut(pidfd.Field(status, "Uid"), "\t")
	if n, err := strconv.Atoi(uid); err == nil {
		return n
	}
	return -1
}

// hasMount returns whether the text of a /proc/PID/mountinfo has the mount with that number.
func hasMount(mountinfo string, id int) bool {
	for line := range strings.Lines(mountinfo) {
		if number, _, ok := strings.Cut(line, " "); ok && number == strconv.Itoa(id) {
			return true
		}
	}
	return false
}
