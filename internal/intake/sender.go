package intake

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/syslog"
)

// overflowID is what the kernel gives for a user or group that has no number
// here, and for a message that was sent before SO_PASSCRED was set.
const overflowID = 65534

func sender(c *unix.Ucred) syslog.Sender {
	if c.Pid == 0 && c.Uid == overflowID && c.Gid == overflowID {
		return syslog.Sender{}
	}
	return syslog.Sender{Known: true, PID: c.Pid, UID: c.Uid, GID: c.Gid}
}

// Claims compares the process IDs that messages claim with those that the kernel
// has told.
type Claims struct {
	Mark bool // a rule wants to know

	// The last that were not the same, and what came of it. It is looked at
	// again in another second, because IDs are used again.
	pid     int32
	claimed [10]byte
	second  int64
	result  bool
}

// Differ reports whether the message claims to come from another process than
// pid. What cannot be known is no difference: a sender in another PID namespace
// has another ID there, and one that has ended says nothing more.
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

// isCalled reports whether the process has the ID id in its PID namespace or
// one around it (NSpid in proc_pid_status(5)), or cannot be asked.
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

// inNSpid reports whether the ID is in the line NSpid of a status, or there is
// none.
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
