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

// Receiver is a process that runs as a receiver, as its arguments and open files show it.
type Receiver struct {
	PID int
	// Container is a process of its container, with its ID on the host: the first process, or
	// the receiver itself if it runs in the container.
	Container int
	// Name is the receiver's name for the container.
	Name string
	// Socket is the private socket's path in the container; empty if not known.
	Socket string
	// Rules are its --rule options, and Config its --config option.
	Rules  []string
	Config string
	// Metrics is its metrics file, if that is on the host; otherwise empty.
	Metrics string
	// OnHost says that it is in this process's root directory, or that its own is not known.
	// In a container, anybody can run a program of that name.
	OnHost bool
	// Since is when it started; zero if not known.
	Since time.Time
	// Account are its counts, if a node said them; otherwise nil.
	Account *Account
}

// maxCmdline is the most that is read of a /proc/PID/cmdline, in bytes.
const maxCmdline = 1 << 20

// List returns the receivers that this process can see, sorted by their containers' process
// IDs. It leaves out watchers of hosts, and programs that only look like receivers.
func List() ([]Receiver, error) {
	list, err := Alike()
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(r Receiver) bool { return r.Account == nil && !r.started() })
	// A receiver may be running a repair, in another process.
	slices.SortFunc(list, func(a, b Receiver) int {
		return cmp.Or(a.Container-b.Container, cmp.Compare(a.Since.UnixNano(), b.Since.UnixNano()), a.PID-b.PID)
	})
	list = slices.CompactFunc(list, func(a, b Receiver) bool { return a.Container == b.Container && a.Name == b.Name })
	return list, nil
}

// Alike returns all processes that look like receivers. In a container, or as a user of the
// host, anybody can run one.
func Alike() (list []Receiver, err error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	own, err := target.Namespace("self", "mnt")
	if err != nil {
		return nil, err
	}
	boot := bootTime()
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
		var root unix.Stat_t
		r.OnHost = unix.Stat(dir+"/root", &root) != nil || file.IDOf(&root) == file.Root()
		if started, err := pidfd.StartTime(pid); err == nil {
			if ticks, err := strconv.ParseInt(started, 10, 64); err == nil && !boot.IsZero() {
				r.Since = boot.Add(time.Duration(ticks) * (time.Second / clockTicks))
			}
		}
		list = append(list, r)
	}
	ofNode, err := listOfNode()
	return append(list, ofNode...), err
}

// openFiles returns the numbers of a process's open files.
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

// bootTime returns the time from which process start times count; zero if not known.
func bootTime() time.Time {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(now.Nano()))
}

// parseArguments reads a receiver's /proc/PID/cmdline, in which a NUL follows each argument.
// ok is false for a host's watcher, and for the processes of a node.
func parseArguments(cmdline []byte) (r Receiver, ok bool) {
	args := strings.Split(string(bytes.TrimRight(cmdline, "\x00")), "\x00")[1:]
	own := args
	if end := slices.Index(args, "--"); end >= 0 {
		own = args[:end]
	}
	if slices.Contains(own, "--node") || slices.Contains(own, "--node-reader") {
		return Receiver{}, false
	}
	return parseOptions(args)
}

// parseOptions is parseArguments for the arguments after the program's name.
func parseOptions(args []string) (r Receiver, ok bool) {
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
