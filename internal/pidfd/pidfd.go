// Package pidfd owns what tells a process from a later one that gets the same
// process ID: its handle (pidfd_open(2)) and, for who can keep none, the time of
// its start.
package pidfd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Open returns a handle of the process with that ID.
func Open(pid int) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// PID is the process ID, as /proc shows it, of the process that the descriptor is
// a handle of. The error is ESRCH where it has ended or is not seen there.
func PID(fd int) (int, error) {
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return 0, fmt.Errorf("find a process: %w", err)
	}
	if pid := ParsePID(info); pid > 0 {
		return pid, nil
	}
	return 0, fmt.Errorf("find a process: %w", unix.ESRCH)
}

// ParsePID returns the process ID in the fdinfo of a pidfd (proc_pid_fdinfo(5)); 0
// if the process has ended or is in another PID namespace.
func ParsePID(info []byte) int {
	for line := range bytes.Lines(info) {
		if value, ok := bytes.CutPrefix(line, []byte("Pid:")); ok {
			if pid, err := strconv.Atoi(string(bytes.TrimSpace(value))); err == nil && pid > 0 {
				return pid
			}
		}
	}
	return 0
}

// Ended says whether the process has ended that the descriptor is a handle of.
func Ended(fd int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// StartTime is when the process started, in clock ticks since the machine did, as
// text: field 22 of proc_pid_stat(5).
func StartTime(pid int) (string, error) { return startTime(strconv.Itoa(pid)) }

// OwnStartTime is StartTime of this process, also where /proc is of another PID
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

// statFields are the fields of a /proc/PID/stat (proc_pid_stat(5)) from the third one on.
// The second is the command in brackets, and may contain anything.
func statFields(stat string) []string {
	return strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
}

// forkNoExec is PF_FORKNOEXEC of the kernel's include/linux/sched.h.
const forkNoExec = 0x40

// Forked reports whether the process has not executed a program since it was forked. Until
// then it has its parent's program and open files.
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
