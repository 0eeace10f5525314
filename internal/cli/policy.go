package cli

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"devlog/internal/failure"
	"devlog/internal/file"
	"devlog/internal/hook"
	"devlog/internal/syslog"
)

// A logging aid keeps no workload from starting: a hook that cannot repair says
// why, in several places since runtimes show it to nobody, and succeeds.

// What a hook does that cannot repair.
const (
	onErrorStart = "start"
	onErrorFail  = "fail"
)

const onErrorVariable = "DEVLOG_ON_ERROR"

func onErrorFlag() cli.Flag {
	return &cli.StringFlag{Name: "on-error", Value: onErrorStart, EnvVars: []string{onErrorVariable},
		Usage: "`WHAT` to do if the repair fails: start (log the reason and let the container start) or fail (keep it from starting)"}
}

// checkOnError is the value's check, in a place where its error can be noted.
func checkOnError(c *cli.Context) error {
	switch how := c.String("on-error"); how {
	case onErrorStart, onErrorFail:
		return nil
	default:
		return usageError{fmt.Errorf("--on-error %q: want start or fail", how)}
	}
}

// policy is what a plain look at the command line and the environment tells: it
// holds also where neither can be parsed.
type policy struct {
	// hook says that a container runtime has called this program.
	hook bool
	// fail says that a failure is the container's too.
	fail bool
}

// typed are the commands that people type; their exit codes tell of failures.
var typed = []string{"check", "repair", "undo", "list", "heal", "config", "help"}

// readPolicy looks at the arguments, the program's name first.
func readPolicy(args []string, getenv func(string) string) policy {
	how := getenv(onErrorVariable)
	for i, arg := range args {
		name, value, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case name != "on-error" || !strings.HasPrefix(arg, "-"):
		case hasValue:
			how = value
		case i+1 < len(args):
			how = args[i+1]
		}
	}
	if call, ok := hook.ParseLXC(args[1:], getenv); ok { // whatever the container is called
		return policy{hook: true, fail: how == onErrorFail && call.Type != hook.LXCPostStop}
	}
	ended := slices.Contains(args, string(hook.Poststop)) || slices.Contains(args, "--stage="+string(hook.Poststop)) ||
		getenv("DEVLOG_STAGE") == string(hook.Poststop) || slices.Contains(args, hook.LXCPostStop) || getenv("LXC_HOOK_TYPE") == hook.LXCPostStop
	p := policy{fail: how == onErrorFail && !ended}
	if len(args) < 2 || !slices.Contains(typed, args[1]) {
		p.hook = slices.Contains(args, "oci") || getenv("LXC_HOOK_TYPE") != "" || getenv("LXC_NAME") != "" && slices.Contains(args, "lxc")
	}
	return p
}

// code is the exit code of the program, for one that tells of a failure or not.
func (p policy) code(code int) int {
	if p.hook && !p.fail {
		return exitDone
	}
	return code
}

// crashed is the error that stands for a panic.
func crashed(reason any) error {
	callers := make([]uintptr, 32)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	for panicked := false; ; {
		frame, more := frames.Next()
		if panicked && !strings.HasPrefix(frame.Function, "runtime.") || !more {
			return fmt.Errorf("internal error: %v (%s, line %d): please report it", reason, frame.Function, frame.Line)
		}
		panicked = panicked || frame.Function == "runtime.gopanic"
	}
}

// say writes the error as one line where somebody will see it. Names and paths in
// it may come from a container: they drive no terminal.
func (p *program) say(err error) {
	text := p.line(err)
	if p.hook {
		for _, before := range p.passedOver {
			p.note(before)
		}
		p.note(text)
		p.tellKernel(text)
	}
}

// line writes the error as one line to standard error, and returns the text.
func (p *program) line(err error) string {
	text := syslog.Escape(strings.ReplaceAll(err.Error(), "\n", "; "))
	fmt.Fprintf(p.stderr, "%s: %s\n", programName, text)
	return text
}

// noteDirs are the directories for notes of this hook.
func (p *program) noteDirs() []string {
	if p.logs != nil {
		return p.logs
	}
	return failure.Dirs()
}

// note writes the text to the container's note.
func (p *program) note(text string) {
	if p.name != "" {
		_ = failure.Note(p.noteDirs(), p.name, p.process, text) // it is also in the kernel's log
	}
}

// forget removes what an earlier hook of the container has noted: from now on it is
// this one's to say what is wrong.
func (p *program) forget() {
	if p.name != "" {
		failure.Remove(p.noteDirs(), p.name)
	}
}

// tellKernel writes the text to the kernel's log, which is one for the host and its
// containers. A hook on the host that may not, such as a user's, sends it to the
// host's syslog daemon.
func (p *program) tellKernel(text string) {
	if p.name != "" {
		text = "container " + syslog.Escape(p.name) + ": " + text
	}
	priority := syslog.MakePriority(syslog.User, syslog.Err)
	err := file.WriteKernelLog(p.kmsg, syslog.KernelRecord(priority, programName+": "+text))
	if err != nil && p.hostSide && !looksContained() {
		stamp := time.Now().Format(time.Stamp) + " "
		_ = sendTo(p.devLog, bytes.TrimSpace(syslog.KernelRecord(priority, stamp+programName+": "+text))) // it is on standard error
	}
}

// looksContained says that this process may be in a container's root, whatever its
// caller says: its parent is the first process, and /proc is not another's, as it is at
// createContainer.
func looksContained() bool {
	self, err := os.Readlink("/proc/self")
	return os.Getppid() == 1 && (err != nil || self == strconv.Itoa(os.Getpid()))
}

// sendTo sends a message to a datagram socket, and does not wait.
func sendTo(path string, message []byte) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, message, unix.MSG_NOSIGNAL, &unix.SockaddrUnix{Name: path})
}
