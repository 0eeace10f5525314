// Command completions writes what bash, zsh and fish need to complete the
// programs' command lines:
//
//	completions BIN OUT
//
// It takes what there is to complete from the --help of the programs in BIN, as
// their users do, and writes PROGRAM.bash, PROGRAM.zsh and PROGRAM.fish to OUT.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// programs are those that have options of their own.
var programs = []string{"devlog-hook", "devlogd"}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "completions:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: completions BIN OUT")
	}
	for _, name := range programs {
		p, err := describe(args[0], name)
		if err != nil {
			return err
		}
		for suffix, text := range map[string]string{"bash": bash(p), "zsh": zsh(p), "fish": fish(p)} {
			if err := os.WriteFile(filepath.Join(args[1], name+"."+suffix), []byte(text), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// describe asks a program and each of its commands for help.
func describe(bin, name string) (*program, error) {
	help := func(args ...string) (string, error) {
		cmd := exec.Command(filepath.Join(bin, name), append(args, "--help")...)
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("%s: %w", cmd, err)
		}
		return string(out), nil
	}
	text, err := help()
	if err != nil {
		return nil, err
	}
	p := &program{name: name, flags: parseFlags(text), commands: parseCommands(text)}
	if len(p.flags) == 0 {
		return nil, fmt.Errorf("%s --help names no options", name)
	}
	for i := range p.commands {
		c := &p.commands[i]
		if text, err = help(c.name); err != nil {
			return nil, err
		}
		c.kinds = parseCommands(text)
		if c.flags = parseFlags(text); len(c.flags) == 0 {
			return nil, fmt.Errorf("%s %s --help names no options", name, c.name)
		}
	}
	return p, nil
}
