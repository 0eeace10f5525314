// Package lxcexec notices that LXC's own init waits for this process alone. That init
// (lxc-execute) ends when every other process of its PID namespace has ended, and the receiver
// is one of them.
package lxcexec

import (
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"devlog/internal/file"

	"golang.org/x/sys/unix"
)

const (
	confirmDelay  = 100 * time.Millisecond // between the two scans that must agree
	firstDelay    = 20 * time.Millisecond  // between scans, while undecided
	lastDelay     = time.Second
	waitsForAll32 = 0xffffffff // wait4(2)'s -1 as a pid_t
)

// lxcInits are the names of the programs that are LXC's own init.
var lxcInits = map[string]bool{"lxc-execute": true, "init.lxc": true, "init.lxc.static": true, "lxc-init": true}

// scan is what /proc shows of a PID namespace.
type scan struct {
	exe     file.ID // of process 1
	exeName string  // its file's name
	exeOK   bool    // exe and exeName could be read
	other   int     // a process other than 1 and this one; 0 for none
	waiting bool    // process 1 waits for any child
}

// verdict is what a scan means.
type verdict int

const (
	stopWatching verdict = iota // process 1 is not LXC's init
	waitForOther                // scan again when scan.other has ended
	undecided                   // scan again soon
	maybeAlone                  // scan again after confirmDelay
	isAlone
)

// judge returns the verdict on a scan. started is the file that process 1 executed at the
// start. With await, process 1 may still execute another program. maybe says that the last
// verdict was maybeAlone.
func judge(s scan, started file.ID, await, maybe bool) verdict {
	switch {
	case !s.exeOK:
		return stopWatching
	case !lxcInits[s.exeName] && (!await || s.exe != started):
		return stopWatching
	case s.other != 0:
		return waitForOther
	case !s.waiting:
		return undecided
	case !maybe:
		return maybeAlone
	}
	return isAlone
}

// Watch watches whether this process is alone with LXC's init. A nil Watch never is.
type Watch struct {
	proc    procDir
	self    int
	started file.ID
	await   bool
	maybe   bool
	delay   time.Duration
	next    time.Time // when to scan next; zero while waiting for fd
	fd      int       // pidfd of another process; -1 for none
}

// New watches this process's PID namespace. With await, process 1 may still execute its
// program. It returns nil if process 1 is not LXC's init.
func New(await bool) *Watch { return newWatch("/proc", os.Getpid(), await) }

// newWatch watches the PID namespace of the process self, which proc shows.
func newWatch(proc procDir, self int, await bool) *Watch {
	if self == 1 {
		return nil
	}
	w := &Watch{proc: proc, self: self, await: await, fd: -1, next: time.Now()}
	s := scan{}
	proc.readExe(&s)
	w.started = s.exe
	if judge(s, w.started, await, false) == stopWatching {
		return nil
	}
	return w
}

// Next returns when to call Step if no event comes before; the zero time for never.
func (w *Watch) Next() time.Time {
	if w == nil {
		return time.Time{}
	}
	return w.next
}

// Step scans if it is time, and returns whether this process is alone. It calls poll for a
// descriptor whose events the caller must pass to Event.
func (w *Watch) Step(now time.Time, poll func(fd int) error) (alone bool) {
	if w == nil || w.next.IsZero() || now.Before(w.next) {
		return false
	}
	s, err := w.proc.scan(w.self)
	if err != nil {
		w.next = time.Time{}
		return false
	}
	v := judge(s, w.started, w.await, w.maybe)
	w.maybe = v == maybeAlone
	switch v {
	case isAlone:
		return true
	case stopWatching:
		w.next = time.Time{}
	case maybeAlone:
		w.next = now.Add(confirmDelay)
	case waitForOther:
		w.delay = 0
		if fd, err := unix.PidfdOpen(s.other, 0); err != nil {
			w.later(now)
		} else if err := poll(fd); err != nil {
			_ = unix.Close(fd)
			w.later(now)
		} else {
			w.fd, w.next = fd, time.Time{}
		}
	case undecided:
		w.later(now)
	}
	return false
}

// Event handles an event of the descriptor: the process that Step waits for has ended. It
// returns false if the descriptor belongs to somebody else.
func (w *Watch) Event(fd int) bool {
	if w == nil || fd < 0 || fd != w.fd {
		return false
	}
	_ = unix.Close(w.fd) // this also removes it from the epoll
	w.fd, w.next = -1, time.Now()
	return true
}

func (w *Watch) later(now time.Time) {
	w.delay = min(max(2*w.delay, firstDelay), lastDelay)
	w.next = now.Add(w.delay)
}

// procDir is a directory like /proc.
type procDir string

func (p procDir) path(pid int, name string) string {
	return filepath.Join(string(p), strconv.Itoa(pid), name)
}

// scan scans all processes.
func (p procDir) scan(self int) (scan, error) {
	var s scan
	p.readExe(&s)
	entries, err := os.ReadDir(string(p))
	if err != nil {
		return s, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == 1 || pid == self || s.other != 0 && pid > s.other {
			continue
		}
		if state := p.state(pid); state != 0 && state != 'Z' && state != 'X' {
			s.other = pid
		}
	}
	s.waiting = p.waits(1)
	return s, nil
}

// readExe sets the fields about the file that process 1 executes.
func (p procDir) readExe(s *scan) {
	name := p.path(1, "exe")
	target, err := os.Readlink(name)
	if err != nil {
		return
	}
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return
	}
	s.exe = file.IDOf(&st)
	s.exeName = path.Base(strings.TrimSuffix(target, " (deleted)"))
	s.exeOK = true
}

// state returns the process's state (proc_pid_stat(5)); 0 if there is no such process.
func (p procDir) state(pid int) byte {
	data, err := os.ReadFile(p.path(pid, "stat"))
	if err != nil {
		return 0
	}
	// The name in parentheses may contain anything.
	text := string(data)
	i := strings.LastIndexByte(text, ')')
	if i < 0 || i+2 >= len(text) {
		return 0
	}
	return text[i+2]
}

// waits returns whether the process is in wait4(-1) or waitid(P_ALL). If this process may not
// see system calls, it returns whether the process sleeps.
func (p procDir) waits(pid int) bool {
	data, err := os.ReadFile(p.path(pid, "syscall"))
	if err != nil {
		return p.state(pid) == 'S'
	}
	return waitsForAll(string(data))
}

// waitsForAll is waits for the content of proc_pid_syscall(5): "NUMBER ARGUMENT...", or
// "running".
func waitsForAll(line string) bool {
	field := strings.Fields(line)
	if len(field) < 2 {
		return false
	}
	number, err := strconv.ParseInt(field[0], 10, 64)
	if err != nil {
		return false
	}
	first, err := strconv.ParseUint(strings.TrimPrefix(field[1], "0x"), 16, 64)
	if err != nil {
		return false
	}
	switch number {
	case unix.SYS_WAIT4:
		return uint32(first) == waitsForAll32
	case unix.SYS_WAITID:
		return first == unix.P_ALL
	}
	return false
}
