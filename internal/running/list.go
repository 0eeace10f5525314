package running

import (
	"bytes"
	"cmp"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/pidfd"
	"devlog/internal/target"
)

// Receiver is a receiver that runs, as its arguments and open files tell.
type Receiver struct {
	PID int
	// Container is a process of the container that it serves, as the host numbers it: the
	// first one, or the receiver itself where that runs within the container.
	Container int
	// Name is the container's, as the receiver calls it.
	Name string
	// Socket is the private socket's path in the container; empty if it is not known.
	Socket string
	// Rules are the rules that it was given, and Config its file of rules, or empty.
	Rules  []string
	Config string
	// Metrics is the file that it writes its account to, where that is the host's; or empty.
	Metrics string
	// Since is when it was started; zero if that is not known.
	Since time.Time
}

// maxCmdline is how much of a /proc/PID/cmdline is read, in bytes.
const maxCmdline = 1 << 20

// List returns the receivers that this process can see, by their containers' process IDs. What only
// keeps a host prepared is left out.
func List() ([]Receiver, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	own, err := target.Namespace("self", "mnt")
	if err != nil {
		return nil, err
	}
	boot := bootTime()
	var list []Receiver
	for _, dir := range dirs {
		pid, err := strconv.Atoi(path.Base(dir))
		exe, rerr := os.Readlink(dir + "/exe")
		if err != nil || rerr != nil || !isReceiverExe(exe) {
			continue
		}
		line, err := file.Read(dir+"/cmdline", maxCmdline)
		if err != nil {
			continue
		}
		r, ok := parseArguments(line)
		if !ok {
			continue
		}
		r.PID, r.Container = pid, pid
		for _, fd := range openFiles(dir) {
			if info, err := file.Read(dir+"/fdinfo/"+fd, maxCmdline); err == nil {
				if of := pidfd.ParsePID(info); of > 0 {
					r.Container = of
				}
			}
		}
		if ns, err := target.Namespace(strconv.Itoa(pid), "mnt"); err != nil || ns != own {
			r.Metrics = ""
		}
		if started, err := pidfd.StartTime(pid); err == nil {
			if ticks, err := strconv.ParseInt(started, 10, 64); err == nil && !boot.IsZero() {
				r.Since = boot.Add(time.Duration(ticks) * (time.Second / clockTicks))
			}
		}
		list = append(list, r)
	}
	// One may just be about to run a repair, in a process of its own.
	slices.SortFunc(list, func(a, b Receiver) int {
		return cmp.Or(a.Container-b.Container, cmp.Compare(a.Since.UnixNano(), b.Since.UnixNano()), a.PID-b.PID)
	})
	list = slices.CompactFunc(list, func(a, b Receiver) bool { return a.Container == b.Container && a.Name == b.Name })
	return list, nil
}

// openFiles are the numbers of a process's open files.
func openFiles(dir string) (fds []string) {
	entries, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		fds = append(fds, e.Name())
	}
	return fds
}

// clockTicks is the unit of times in /proc, USER_HZ of the kernel's include/asm/param.h.
const clockTicks = 100

// bootTime is when the clock of process starts began; zero if that is not known.
func bootTime() time.Time {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(now.Nano()))
}

// parseArguments reads the text of a receiver's /proc/PID/cmdline, each argument with a NUL
// behind it; ok is false for what keeps a host prepared.
func parseArguments(cmdline []byte) (r Receiver, ok bool) {
	args := strings.Split(string(bytes.TrimRight(cmdline, "\x00")), "\x00")[1:]
	var repair []string
	if end := slices.Index(args, "--"); end >= 0 {
		args, repair = args[:end], args[end+1:]
	}
	if slices.Contains(repair, "--host") {
		return Receiver{}, false
	}
	each(args, func(name, value string) {
		switch name {
		case "name":
			r.Name = value
		case "rule":
			r.Rules = append(r.Rules, value)
		case "config":
			r.Config = value
		case "listen":
			r.Socket = value
		case "metrics-file":
			r.Metrics = value
		}
	})
	each(repair, func(name, value string) {
		if name == "socket" {
			r.Socket = value
		}
	})
	return r, true
}

// each calls use for each option with a value: --NAME VALUE, or --NAME=VALUE.
func each(args []string, use func(name, value string)) {
	for i := 0; i < len(args); i++ {
		option, isOption := strings.CutPrefix(args[i], "-")
		name, value, joined := strings.Cut(strings.TrimPrefix(option, "-"), "=")
		switch {
		case !isOption:
		case joined:
			use(name, value)
		case i+1 < len(args) && !strings.HasPrefix(args[i+1], "--"):
			use(name, args[i+1])
			i++
		}
	}
}
