package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"devlog/hooks"
)

// configCommand prints what a runtime has to be told of this program.
func (p *program) configCommand() *cli.Command {
	c := command(cli.Command{
		Name:      "config",
		Usage:     "print a configuration file for a runtime, init system or log shipper",
		UsageText: "devlog-hook config KIND [--dir DIR] [--server NAME]",
		Description: "The file has this program's own path in it. The file says where to save it, or standard error does\n" +
			"where the format has no comments. With --dir DIR after KIND, the files are written to that\n" +
			"directory instead, which is created if it does not exist. The files for log shippers name the server of --server.",
		Action: func(*cli.Context) error {
			return usageError{errors.New("config needs a KIND: see devlog-hook config --help")}
		},
	})
	action := c.Action
	c.Action = func(ctx *cli.Context) error {
		if ctx.Args().Present() {
			name := ctx.Args().First()
			return usageError{fmt.Errorf("unknown configuration %q%s; see devlog-hook config --help", name, suggestCommand(c.Subcommands, name))}
		}
		return action(ctx)
	}
	for _, kind := range hooks.Kinds {
		flags := []cli.Flag{&cli.StringFlag{Name: "dir", Usage: "write the files to the directory `DIR`, which is created if it does not exist", EnvVars: env("DIR")}}
		if kind.Ships {
			flags = append(flags, &cli.StringFlag{Name: "server", Value: hooks.Server, Usage: "send to the server `NAME`, a host's name or address", EnvVars: env("SERVER")})
		}
		c.Subcommands = append(c.Subcommands, command(cli.Command{
			Name:  kind.Name,
			Usage: kind.Usage,
			Flags: flags,
			Action: func(ctx *cli.Context) error {
				self, err := os.Executable()
				if err != nil {
					return fmt.Errorf("find this program: %w", err)
				}
				return p.config(kind, filepath.Dir(self), ctx.String("dir"), ctx.String("server"))
			},
		}))
	}
	return c
}

// config prints the files of the kind, for programs in bin and that server, or
// writes them to dir.
func (p *program) config(kind hooks.Kind, bin, dir, server string) error {
	var advice string
	for i, name := range kind.Files {
		text, err := hooks.File(name, bin)
		if kind.Ships {
			if text, err = hooks.FileFor(name, server); err != nil {
				return usageError{err}
			}
		}
		if err != nil {
			return err
		}
		if kind.Name == containerd2 || kind.Name == containerd1 {
			if text, advice, err = askContainerd().with(kind.Name, text); err != nil {
				return err
			}
		}
		if dir != "" {
			err = writeConfig(filepath.Join(dir, name), text)
		} else {
			if len(kind.Files) > 1 {
				text = fmt.Sprintf("%s# ---- %s ----\n%s", strings.Repeat("\n", min(i, 1)), name, text)
			}
			_, err = io.WriteString(p.stdout, text)
		}
		if err != nil {
			return err
		}
	}
	if kind.Place != "" && dir == "" {
		fmt.Fprintln(p.stderr, kind.Place)
	}
	if advice != "" {
		fmt.Fprintln(p.stderr, advice)
	}
	return nil
}

// writeConfig gives the file that text, as a whole or not at all.
func writeConfig(name, text string) error {
	mode := os.FileMode(0o644)
	if strings.HasPrefix(text, "#!") {
		mode = 0o755
	}
	dir, base := filepath.Split(name)
	failed := func(err error) error {
		var path *os.PathError
		if errors.As(err, &path) { // of a file that the user has not named
			err = path.Err
		}
		return fmt.Errorf("write %s to %s: %w", base, dir, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err // it names the directory
	}
	f, err := os.CreateTemp(dir, ".devlog-")
	if err != nil {
		return failed(err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error is the one to report
		return failed(err)
	}
	return nil
}
