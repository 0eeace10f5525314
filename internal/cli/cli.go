// Package cli owns the command line of devlog-hook: commands, flags,
// environment variables, messages and exit codes.
package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"devlog/internal/failure"
	"devlog/internal/file"
	"devlog/internal/hook"
	"devlog/internal/plan"
	"devlog/internal/sandbox"
	"devlog/internal/usage"
)

// Version is the program's version; the build sets it.
var Version = "devel"

const programName = "devlog-hook"

// The exit codes, the same for every command.
const (
	exitDone        = 0
	exitNeedsRepair = 1 // check only
	exitUsage       = 2
	exitRefused     = 3
	exitFailed      = 4
)

// check has printed its answer in full: these are not failures.
var (
	errNeedsRepair = errors.New("needs repair")
	errRefuses     = errors.New("a repair would be refused")
)

// answer returns check's verdict as an error.
func answer(v plan.Verdict) error {
	switch v {
	case plan.NeedsRepair:
		return errNeedsRepair
	case plan.Refused:
		return errRefuses
	}
	return nil
}

// failures are the errors of several containers. Each is reported on its own line.
type failures []error

func (f failures) Error() string   { return errors.Join(f...).Error() }
func (f failures) Unwrap() []error { return f }

// program is one run of devlog-hook.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	hook.Policy
	// name is the container's name, once it is known.
	name string
	// process is the failure.ProcessTag of its first process, on the host.
	process string
	// hostSide says that the hook is not in the container.
	hostSide bool
	// logs are the directories for notes of hooks, nil for the usual ones. kmsg is the
	// kernel's log, and devLog is the host's.
	logs         []string
	kmsg, devLog string
	// typed says that a user typed the command, who may be able to become root.
	typed bool

	// warned says that the warnings about ignored variables were printed.
	warned bool
	// notices are the warnings about settings, which the receiver repeats.
	notices []string
	// keepLogs is how long to keep logs of ended containers; 0 for ever.
	keepLogs time.Duration
	// warnings are about the receiver that was started.
	warnings []string
}

// Main runs devlog-hook with these arguments, the program's name first, and
// returns its exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	sandbox.Hide() // a hook has the host's root directory, or runs in its receiver's sandbox
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, kmsg: "/dev/kmsg", devLog: "/dev/log"}
	return p.main(args)
}

func (p *program) main(args []string) (code int) {
	p.Policy = hook.ReadPolicy(args, os.Getenv)
	defer func() {
		if reason := recover(); reason != nil {
			if !p.Hook {
				panic(reason)
			}
			code = p.exit(failure.OfPanic(reason))
		}
		code = p.code(code)
	}()
	// Every user must be able to reach the directories and sockets made here.
	unix.Umask(0o022)
	err := file.CloseOnExec()
	if _, perr := os.Stat("/proc/self/fd"); perr != nil {
		err = errors.New("/proc is not mounted here; hint: mount it, nothing works without it")
	}
	if err == nil {
		err = p.run(args)
	}
	if err != nil && p.name == "" && (p.Hook || errors.As(err, new(usage.Error))) {
		p.nameCaller(args)
	}
	return p.exit(err)
}

func (p *program) run(args []string) error {
	if call, ok := hook.ParseLXC(args[1:], os.Getenv); ok {
		p.name, p.hostSide, p.process = call.Name, call.OnHost(), failure.ProcessTag(call.PID)
		return p.app(&call).Run([]string{args[0], "lxc"})
	}
	if len(args) > 1 && args[1] == "help" { // help COMMAND is COMMAND --help
		args = slices.Concat(args[:1], args[2:], []string{"--help"})
	}
	app := p.app(nil)
	return app.Run(usage.ContainerLast(args, app.Commands))
}

// exit reports the error and returns its exit code.
func (p *program) exit(err error) int {
	var many failures
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errNeedsRepair):
		return exitNeedsRepair
	case errors.Is(err, errRefuses):
		return exitRefused
	case errors.As(err, &many):
		code := exitRefused
		for _, err := range many {
			p.say(p.asRoot(err))
			if failed(err) == exitFailed {
				code = exitFailed
			}
		}
		return code
	}
	p.say(p.asRoot(err))
	return failed(err)
}

// asRoot adds the advice to run as root if the user lacks privileges. A refusal has its own
// advice, and a hook cannot choose its user.
func (p *program) asRoot(err error) error {
	var refusal *plan.Refusal
	if !p.typed || os.Geteuid() == 0 || !errors.Is(err, os.ErrPermission) || errors.As(err, &refusal) {
		return err
	}
	return fmt.Errorf("%w; hint: %s", err, plan.RunAsRoot)
}

// failed returns the error's exit code.
func failed(err error) int {
	var bad usage.Error
	var refusal *plan.Refusal
	switch {
	case errors.As(err, &bad):
		return exitUsage
	case errors.As(err, &refusal), errors.Is(err, os.ErrPermission): // whichever call was denied
		return exitRefused
	}
	return exitFailed
}

// app returns the command line. lxc is LXC's call; nil for another caller.
func (p *program) app(lxc *hook.LXC) *cli.App {
	commands := []*cli.Command{p.checkCommand(), p.repairCommand(), p.undoCommand(), p.listCommand(), p.ociCommand(), p.autoRepairCommand(), p.repairLostCommand(), p.configCommand()}
	if lxc != nil {
		commands = append(commands, p.lxcCommand(*lxc))
	}
	cli.VersionPrinter = func(c *cli.Context) { fmt.Fprintf(c.App.Writer, "%s %s\n", programName, Version) } // the format of devlogd
	return &cli.App{
		Name:      programName,
		Usage:     "make syslog(3) work in containers",
		UsageText: "devlog-hook COMMAND [OPTIONS]",
		Description: "Exit codes: 0 done; 1 check: needs repair; 2 wrong usage; 3 refused as unsafe (the message says after\n" +
			"hint: what to do instead); 4 failed. As a hook of LXC it needs no arguments: lxc.hook.start =\n" +
			"/path/to/devlog-hook",
		Version:                   Version,
		Commands:                  commands,
		Reader:                    p.stdin,
		Writer:                    p.stdout,
		ErrWriter:                 p.stderr,
		HideHelpCommand:           true,
		EnableBashCompletion:      true,
		DisableSliceFlagSeparator: true, // rules have commas
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              usage.OnError,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				name := c.Args().First()
				return usage.Errorf("unknown command %q%s; see devlog-hook --help", name, usage.Suggest(commands, name))
			}
			return usage.Errorf("no command; see devlog-hook --help")
		},
	}
}
