package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"devlog/internal/failure"
	"devlog/internal/hook"
	"devlog/internal/syslog"
	"devlog/internal/usage"
)

// A hook that cannot repair does not keep its container from starting. It says why in several
// places, because runtimes hide what a successful hook writes.

func onErrorFlag() cli.Flag {
	return &cli.StringFlag{Name: "on-error", Value: hook.OnErrorStart, EnvVars: []string{hook.OnErrorVariable},
		Usage: "choose `WHAT` to do if the repair fails: start (log the reason and let the container start) or fail (keep it from starting)"}
}

// checkOnError checks the value late, when the container's name for the note is known.
func checkOnError(c *cli.Context) error {
	switch how := c.String("on-error"); how {
	case hook.OnErrorStart, hook.OnErrorFail:
		return nil
	default:
		return usage.Errorf("--on-error %q: want start or fail", how)
	}
}

// code returns the program's exit code: a hook with --on-error start always succeeds.
func (p *program) code(code int) int {
	if p.Hook && !p.Fail {
		return exitDone
	}
	return code
}

// say reports the error as one line: on standard error, and for a hook in the container's
// note and the kernel's log. It escapes what a container can choose.
func (p *program) say(err error) {
	text := p.line(err)
	if p.Hook {
		for _, before := range p.notices {
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
