package target

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"devlog/internal/pidfd"
)

// InnermostPID returns the process ID in the innermost PID namespace (NSpid of
// proc_pid_status(5)); 0 if the text is not a /proc/PID/status.
func InnermostPID(status string) int {
	ids := pidfd.Field(status, "NSpid")
	pid, _ := strconv.Atoi(ids[strings.LastIndexAny(ids, "\t ")+1:]) // 0 without a number
	return pid
}

// ShownPID returns the number that /proc has for a process. /proc may show another PID
// namespace than this process's.
func ShownPID(pid int) (int, error) {
	handle, err := pidfd.Open(pid)
	if err != nil {
		return 0, err
	}
	defer handle.Close()
	return pidfd.PID(int(handle.Fd()))
}

// Ended returns whether the process of the pidfd has ended.
func Ended(handle *os.File) bool { return pidfd.Ended(int(handle.Fd())) }

// Namespace returns the number of a process's namespace: kind is a name in
// /proc/PID/ns, pid a process ID or "self".
func Namespace(pid, kind string) (uint64, error) {
	st, err := os.Stat("/proc/" + pid + "/ns/" + kind)
	if err != nil {
		return 0, fmt.Errorf("cannot find a namespace: %w", err)
	}
	return st.Sys().(*syscall.Stat_t).Ino, nil
}

// Capable returns whether this process has the capability (capabilities(7)).
func Capable(capability int) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<capability) != 0
}
