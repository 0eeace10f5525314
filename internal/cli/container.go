package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"devlog/internal/containers"
	"devlog/internal/hook"
	"devlog/internal/plan"
	"devlog/internal/target"
)

// containerArgument is how help calls the name or ID of a container.
const containerArgument = "[CONTAINER]"

// completes is the last argument of a shell that asks how to complete those before it, as
// the library has it.
const completes = "--generate-bash-completion"

// containerCommand fills in what all commands have in common that take a container's name
// or ID.
func containerCommand(c cli.Command) *cli.Command {
	c.ArgsUsage = containerArgument
	action := c.Action
	made := command(c)
	made.Action = func(ctx *cli.Context) error {
		switch args := ctx.Args(); {
		case args.Len() > 1:
			return usageError{fmt.Errorf("unexpected argument %q; see %s --help", args.Get(1), ctx.Command.HelpName)}
		case args.Present() && args.First() == "":
			// As of a variable that is not set: never this process's own root.
			return usageError{errors.New("the container's name is empty")}
		}
		return action(ctx)
	}
	return made
}

// containerLast returns the arguments, the program's name first, with options in front of
// the container's name: the library takes what follows a name for more names.
func containerLast(args []string, commands []*cli.Command) []string {
	if len(args) < 2 || args[len(args)-1] == completes {
		return args
	}
	at := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.Name == args[1] })
	if at < 0 || commands[at].ArgsUsage != containerArgument {
		return args
	}
	hasValue := map[string]bool{}
	for _, flag := range commands[at].Flags {
		_, isBool := flag.(*cli.BoolFlag)
		hasValue[flag.Names()[0]] = !isBool
	}
	var options, names []string
	for rest := args[2:]; len(rest) > 0; {
		arg := rest[0]
		size := 1
		switch {
		case arg == "--":
			names = append(names, rest[1:]...)
			rest = nil
			continue
		case !strings.HasPrefix(arg, "-") || arg == "-":
			names = append(names, arg)
			rest = rest[1:]
			continue
		case hasValue[strings.TrimLeft(arg, "-")]:
			size = min(2, len(rest))
		}
		options = append(options, rest[:size]...)
		rest = rest[size:]
	}
	if len(names) == 0 {
		return args
	}
	return slices.Concat(args[:2], options, []string{"--"}, names)
}

// maxFinds is how often a container is looked for: the process by which it was found may be
// one that has just ended.
const maxFinds = 3

// namedTarget returns the running container with that name or ID, and the name that it goes
// by if nothing else is said: what its runtime calls it, as in a hook's call.
func namedTarget(named string) (t *target.Target, name string, err error) {
	host := containers.This()
	for range maxFinds {
		var c containers.Container
		if c, err = host.Find(named); err != nil {
			return nil, "", notFound(err)
		}
		t, err = target.OfProcess(c.PID)
		if err == nil && !host.Runs(c) { // the target is of that process ID, whoever has it
			t.Close()
			err = unix.ESRCH
		}
		if err == nil {
			if name = c.ID; hook.CheckName(name) != nil {
				name = target.NameOfProcess(c.PID)
			}
			return t, name, nil
		}
		if !errors.Is(err, unix.ESRCH) {
			return nil, "", err
		}
	}
	return nil, "", fmt.Errorf("cannot find container %q: %w", named, err)
}

// notFound adds to the error what to do about it.
func notFound(err error) error {
	if errors.As(err, new(*containers.AmbiguousError)) {
		return usageError{err}
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w; to see containers of other users too, %s", err, plan.RunAsRoot)
	}
	return err
}
