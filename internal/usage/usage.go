// Package usage owns the command line as users type it: its errors, with options written as
// users type them, and a container's name before options. The library that parses it
// (urfave/cli) has neither.
package usage

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Error is an error in a command line or another input.
type Error struct{ Err error }

func (e Error) Error() string { return e.Err.Error() }
func (e Error) Unwrap() error { return e.Err }

// Errorf is an Error with the text of fmt.Errorf.
func Errorf(format string, args ...any) error { return Error{fmt.Errorf(format, args...)} }

// Suggest returns the end of an error about an unknown command: a similar one; empty if none
// is similar.
func Suggest(commands []*cli.Command, name string) string {
	visible := slices.DeleteFunc(slices.Clone(commands), func(c *cli.Command) bool { return c.Hidden })
	return DidYouMean(strings.Trim(strings.TrimPrefix(cli.SuggestCommand(visible, name), "Did you mean "), `"?`))
}

// DidYouMean returns the end of an error about an unknown name: a similar one; empty without one.
func DidYouMean(name string) string {
	if name == "" {
		return ""
	}
	return " (did you mean " + name + "?)"
}

// OnError rewrites the library's errors about options.
func OnError(c *cli.Context, err error, _ bool) error {
	name, flags := c.Command.HelpName, c.Command.Flags
	if name == "" { // in front of a command
		name = "devlog-hook"
	}
	return Errorf("%s; see %s --help", flagWords(err.Error(), flags), name)
}

// flagWords rewrites the library's error about an option: with the option as users type it,
// and a similar one.
func flagWords(text string, flags []cli.Flag) string {
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		return "unknown option --" + name + DidYouMean(cli.SuggestFlag(flags, name, false))
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return "--" + name + " needs a value"
	}
	for _, mark := range []string{" for flag -", " for -"} { // behind the value, which may be anything
		if at := strings.LastIndex(text, mark); at >= 0 {
			return text[:at] + " for --" + text[at+len(mark):]
		}
	}
	return text
}

// Command fills in what all commands have in common. A command takes no arguments.
func Command(c cli.Command) *cli.Command {
	c.OnUsageError = OnError
	c.HideHelpCommand = true
	for _, flag := range c.Flags { // "default: false" and "default: 0" help nobody
		switch flag := flag.(type) {
		case *cli.BoolFlag:
			flag.DisableDefaultText = true
		case *cli.IntFlag:
			flag.DefaultText = "none"
		}
	}
	action := c.Action
	c.Action = func(ctx *cli.Context) error {
		if ctx.Args().Present() {
			return Errorf("unexpected argument %q; see %s --help", ctx.Args().First(), ctx.Command.HelpName)
		}
		return action(ctx)
	}
	return &c
}

// containerArgument is how help calls the name or ID of a container.
const containerArgument = "[CONTAINER]"

// completes is the last argument when a shell asks how to complete the arguments before it
// (urfave/cli).
const completes = "--generate-bash-completion"

// ContainerCommand is Command for commands that take one container's name or ID.
func ContainerCommand(c cli.Command) *cli.Command {
	c.ArgsUsage = containerArgument
	action := c.Action
	made := Command(c)
	made.Action = func(ctx *cli.Context) error {
		switch args := ctx.Args(); {
		case args.Len() > 1:
			return Errorf("unexpected argument %q; see %s --help", args.Get(1), ctx.Command.HelpName)
		case args.Present() && args.First() == "":
			// A shell variable may be unset. Do not fall back to this process's root.
			return Errorf("the container's name is empty")
		}
		return action(ctx)
	}
	return made
}

// ContainerLast moves options before the container's name, because the library takes all
// arguments after a name as names. args starts with the program's name.
func ContainerLast(args []string, commands []*cli.Command) []string {
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
