// Package pidfd distinguishes a process from a later one with the same ID: by a handle
// (pidfd_open(2)) or, where no handle can be kept, by its start time.
package pidfd

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Open returns a handle on the process with that ID.
func Open(pid int) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// PID returns the process ID of the handle, as /proc shows it. The error is ESRCH if the
// process has ended or is not visible there.
func PID(fd int) (int, error) {
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return 0, fmt.Errorf("cannot find a process: %w", err)
	}
	if pid := ParsePID(info); pid > 0 {
		return pid, nil
	}
	return 0, fmt.Errorf("cannot find a process: %w", unix.ESRCH)
}

// ParsePID returns the process ID in the fdinfo of a pidfd (proc_pid_fdinfo(5)); 0
// if the process has ended or is in another PID namespace.
func ParsePID(info []byte) int {
	pid, _ := strconv.Atoi(Field(string(info), "Pid")) // 0 without a number
	return max(pid, 0)
}

// Field returns the value of a field in a text of /proc with a line NAME:VALUE for each, such as
// /proc/PID/status; empty if the text has no such field.
func Field(text, name string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Ended returns whether the process of the handle has ended.
func Ended(fd int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// StartTime returns when the process started, in clock ticks since boot, as text: field 22 of
// proc_pid_stat(5).
func StartTime(pid int) (string, error) { return startTime(strconv.Itoa(pid)) }

// OwnStartTime is StartTime for this process. It also works if /proc belongs to another PID
// namespace.
func OwnStartTime() (string, error) { return startTime("self") }

func startTime(process string) (string, error) {
	text, err := os.ReadFile("/proc/" + process + "/stat")
	if err != nil {
		return "", err
	}
	return parseStartTime(string(text))
}

func parseStartTime(stat string) (string, error) {
	fields := statFields(stat)
	if len(fields) < 20 {
		return "", errors.New("unexpected contents of /proc/PID/stat")
	}
	return fields[19], nil
}

// statFields returns the fields of a /proc/PID/stat (proc_pid_stat(5)) from the third on. The
// second, the command in brackets, may contain anything.
func statFields(stat string) []string {
	return strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
}

// forkNoExec is PF_FORKNOEXEC of the kernel's include/linux/sched.h.
const forkNoExec = 0x40

// Forked returns whether the process was forked and has not executed a program yet. Until then
// it has its parent's program and open files.
func Forked(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && parseForked(string(text))
}

func parseForked(stat string) bool {
	fields := statFields(stat)
	if len(fields) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return err == nil && flags&forkNoExec != 0
}
