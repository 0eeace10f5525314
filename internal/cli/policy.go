package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"devlog/internal/failure"
	"devlog/internal/hook"
	"devlog/internal/syslog"
	"devlog/internal/usage"
)

// A hook that cannot repair does not keep its container from starting. It says why in several
// places, because runtimes hide what a successful hook writes.

// What a hook does if it cannot repair.
const (
	onErrorStart = "start"
	onErrorFail  = "fail"
)

const onErrorVariable = "DEVLOG_ON_ERROR"

func onErrorFlag() cli.Flag {
	return &cli.StringFlag{Name: "on-error", Value: onErrorStart, EnvVars: []string{onErrorVariable},
		Usage: "`WHAT` to do if the repair fails: start (log the reason and let the container start) or fail (keep it from starting)"}
}

// checkOnError checks the value late, when the container's name for the note is known.
func checkOnError(c *cli.Context) error {
	switch how := c.String("on-error"); how {
	case onErrorStart, onErrorFail:
		return nil
	default:
		return usage.Errorf("--on-error %q: want start or fail", how)
	}
}

// policy is how to treat errors. It is read without parsing, so that it also holds for
// errors in the command line.
type policy struct {
	// hook says that a container runtime has called this program.
	hook bool
	// fail says that the hook fails if it cannot repair.
	fail bool
}

// typed are the commands that people type. They fail with an exit code.
var typed = []string{"check", "repair", "undo", "list", "auto-repair", "config", "help"}

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
	if call, ok := hook.ParseLXC(args[1:], getenv); ok { // also if the container's name is a command
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

// code returns the program's exit code: a hook with --on-error start always succeeds.
func (p policy) code(code int) int {
	if p.hook && !p.fail {
		return exitDone
	}
	return code
}

// say reports the error as one line: on standard error, and for a hook in the container's
// note and the kernel's log. It escapes what a container can choose.
func (p *program) say(err error) {
	text := p.line(err)
	if p.hook {
		for _, before := range p.passedOver {
			p.note(before)
		}
		p.note(text)
		failure.Tell(p.kmsg, p.hostLog(), p.name, text)
	}
}

// line writes the error as one line to standard error, and returns the text.
func (p *program) line(err error) string {
	text := syslog.Escape(strings.ReplaceAll(err.Error(), "\n", "; "))
	fmt.Fprintf(p.stderr, "%s: %s\n", programName, text)
	return text
}

// noteDirs returns the directories for notes of this hook.
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

// forget removes the notes of earlier hooks of the container.
func (p *program) forget() {
	if p.name != "" {
		failure.Remove(p.noteDirs(), p.name)
	}
}

// hostLog is the socket of the host's syslog daemon; empty if this hook runs in a container.
func (p *program) hostLog() string {
	if p.hostSide {
		return p.devLog
	}
	return ""
}
