package wrapper

import (
	"slices"
	"strings"
)

// valued are the options of runc and crun before the command whose value is the next argument.
var valued = []string{"root", "log", "log-format", "log-level", "criu", "rootless", "cgroup-manager"}

// commands are the commands of runc and crun: any other word after an unknown option is that
// option's value.
var commands = []string{
	"checkpoint", "create", "delete", "events", "exec", "features", "init", "kill", "list", "mounts", "pause", "ps",
	"restore", "resume", "run", "spec", "start", "state", "update",
}

// known are the options before the command that have no value.
var known = []string{"debug", "systemd-cgroup", "help", "h", "version", "v"}

// created returns the bundle of the container that a runtime's arguments (without its name)
// create, and whether they create one (runtime-spec, runtime.md, "Create"; runc's run does
// too). The bundle is the current directory if they name none.
func created(args []string) (bundle string, ok bool) {
	at := command(args)
	if at < 0 || args[at] != "create" && args[at] != "run" {
		return "", false
	}
	bundle = "."
	rest := args[at+1:]
	for i := 0; i < len(rest) && rest[i] != "--"; i++ {
		name, value, hasValue := option(rest[i])
		joined, short := strings.CutPrefix(rest[i], "-b")
		switch {
		case name == "bundle" || name == "b":
			if !hasValue && i+1 < len(rest) {
				i++
				value = rest[i]
			}
		case short: // crun's form: -bDIR
			value = joined
		default:
			continue
		}
		if value != "" {
			bundle = value
		}
	}
	return bundle, true
}

// command returns the index of the command; -1 without a command.
func command(args []string) int {
	for i := 0; i < len(args); i++ {
		name, _, hasValue := option(args[i])
		switch {
		case name == "":
			return i
		case hasValue || slices.Contains(known, name):
		case slices.Contains(valued, name):
			i++
		case i+1 < len(args) && !slices.Contains(commands, args[i+1]) && !strings.HasPrefix(args[i+1], "-"):
			i++
		}
	}
	return -1
}

// option splits an argument: --name=value, --name, or -name. Other arguments have no name.
func option(arg string) (name, value string, hasValue bool) {
	if len(arg) < 2 || arg[0] != '-' {
		return "", "", false
	}
	return strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
}
