package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"devlog/hooks"
	"devlog/internal/configfile"
	"devlog/internal/usage"
)

// configCommand prints configuration files for runtimes, init systems and log shippers.
func (p *program) configCommand() *cli.Command {
	c := usage.Command(cli.Command{
		Name:      "config",
		Usage:     "print a configuration file for a runtime, init system or log shipper",
		UsageText: "devlog-hook config KIND [OPTIONS]",
		Description: "The file has this program's path in it, and a comment that says where to save it; if its format has no\n" +
			"comments, that is printed on standard error. devlog-hook config KIND --help has the options: --dir\n" +
			"writes the files to a directory, --all (podman) is for all containers, --server (log shippers) names\n" +
			"the server.",
		Action: func(*cli.Context) error {
			return usage.Errorf("config needs a KIND; see devlog-hook config --help")
		},
	})
	action := c.Action
	c.Action = func(ctx *cli.Context) error {
		if ctx.Args().Present() {
			name := ctx.Args().First()
			return usage.Errorf("unknown configuration %q%s; see devlog-hook config --help", name, usage.Suggest(c.Subcommands, name))
		}
		return action(ctx)
	}
	for _, kind := range hooks.Kinds {
		flags := []cli.Flag{&cli.StringFlag{Name: "dir", Usage: "write the files to the directory `DIR`, which is created if it does not exist", EnvVars: env("DIR")}}
		if kind.Ships {
			flags = append(flags, &cli.StringFlag{Name: "server", Value: hooks.Server, Usage: "send to the server `NAME`, a host's name or address", EnvVars: env("SERVER")})
		}
		if kind.ForAll != "" {
			flags = append(flags, &cli.BoolFlag{Name: "all", Usage: "print the file for all containers, not only for those that ask for it", EnvVars: env("ALL")})
		}
		c.Subcommands = append(c.Subcommands, usage.Command(cli.Command{
			Name:  kind.Name,
			Usage: kind.Usage,
			Flags: flags,
			Action: func(ctx *cli.Context) error {
				self, err := os.Executable()
				if err != nil {
					return fmt.Errorf("cannot find this program: %w", err)
				}
				if ctx.Bool("all") {
					kind.Files = []string{kind.ForAll}
				}
				return p.config(kind, filepath.Dir(self), ctx.String("dir"), ctx.String("server"))
			},
		}))
	}
	return c
}

// config prints the files of the kind, for programs in bin and for the server, or writes
// them to dir.
func (p *program) config(kind hooks.Kind, bin, dir, server string) error {
	files, advice, err := configfile.Of(kind, bin, server)
	if err != nil {
		return err
	}
	for i, f := range files {
		switch {
		case dir != "":
			err = f.Write(dir)
		case len(files) > 1:
			_, err = fmt.Fprintf(p.stdout, "%s# ---- %s ----\n%s", strings.Repeat("\n", min(i, 1)), f.Name, f.Text)
		default:
			_, err = io.WriteString(p.stdout, f.Text)
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
