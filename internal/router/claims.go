package router

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/syslog"
)

// Claims compares the process IDs that messages claim with those from the kernel.
type Claims struct {
	Mark bool // a rule needs it

	// The last pair that differed, and the result. It is checked again after a second, because
	// IDs are reused.
	pid     int32
	claimed [10]byte
	second  int64
	result  bool
}

// Differ returns whether the message claims to come from another process than pid. It returns
// false if that cannot be known: a sender in another PID namespace has another ID there, and a
// process that has ended cannot be checked.
func (s *Claims) Differ(m *syslog.Message, pid int32, second int64) bool {
	if !s.Mark || pid <= 0 || m.Claims(pid) || len(m.PID) > len(s.claimed) {
		return false
	}
	var claimed [10]byte
	copy(claimed[:], m.PID)
	if s.pid != pid || s.claimed != claimed || s.second != second {
		s.pid, s.claimed, s.second = pid, claimed, second
		s.result = !isCalled("/proc", pid, m.PID)
	}
	return s.result
}

// isCalled returns whether the process has the ID id in its PID namespace or in one around it
// (NSpid in proc_pid_status(5)), or cannot be checked.
func isCalled(proc string, pid int32, id []byte) bool {
	fd, err := unix.Open(proc+"/"+strconv.Itoa(int(pid))+"/status", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	var buf [4 << 10]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil || n <= 0 {
		return true
	}
	return inNSpid(buf[:n], id)
}

// inNSpid returns whether the line NSpid of a status has the ID, or there is no such line.
func inNSpid(status, id []byte) bool {
	_, rest, ok := bytes.Cut(status, []byte("\nNSpid:"))
	line, _, _ := bytes.Cut(rest, []byte{'\n'})
	if !ok {
		return true
	}
	for field := range bytes.FieldsSeq(line) {
		if bytes.Equal(field, id) {
			return true
		}
	}
	return false
}
