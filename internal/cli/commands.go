package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"devlog/internal/devlog"
	"devlog/internal/hook"
)

func (p *program) checkCommand() *cli.Command {
	return command(cli.Command{
		Name:  "check",
		Usage: "say what /dev/log is, whether syslog() works, and what repair would do",
		Description: "Exit code 0: healthy; 1: needs repair; 3: a repair would be refused.\n" +
			"Without --pid and --root it looks at the root that it runs in.",
		Flags: flags(targetFlags(), planFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "json", Usage: "write JSON, for programs", EnvVars: env("JSON")},
		}),
		Action: func(c *cli.Context) error {
			t, o, err := p.targetAndOptions(c)
			if err != nil {
				return err
			}
			defer t.Close()
			r, err := devlog.Check(t, o)
			if err != nil {
				return err
			}
			if err := p.report(c, r); err != nil {
				return err
			}
			switch r.Plan.Verdict {
			case devlog.NeedsRepair:
				return errNeedsRepair
			case devlog.Refused:
				return errRefuses
			}
			return nil
		},
	})
}

func (p *program) report(c *cli.Context, r devlog.Result) error {
	if !c.Bool("json") {
		return r.Report(p.stdout)
	}
	out := json.NewEncoder(p.stdout)
	out.SetIndent("", "  ")
	return out.Encode(struct {
		Facts devlog.Facts `json:"facts"`
		Plan  devlog.Plan  `json:"plan"`
	}{r.Facts, r.Plan})
}

func (p *program) repairCommand() *cli.Command {
	return command(cli.Command{
		Name:  "repair",
		Usage: "make /dev/log lead to a private socket, with a receiver behind it",
		Description: "Does nothing where syslog() works already. Without --pid and --root it repairs the root that\n" +
			"it runs in.",
		Flags: flags(targetFlags(), planFlags(), receiverFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would be done, and do nothing", EnvVars: env("DRY_RUN")},
		}),
		Action: func(c *cli.Context) error {
			t, o, err := p.targetAndOptions(c)
			if err != nil {
				return err
			}
			defer t.Close()
			if c.Bool("dry-run") {
				return p.dryRun(t, o)
			}
			r, err := devlog.Repair(t, o)
			if err != nil {
				return err
			}
			if !r.Changed {
				_, err = fmt.Fprintln(p.stdout, "nothing to do: syslog() works here")
				return err
			}
			_, err = fmt.Fprintf(p.stdout, "repaired by %s\n", r.Plan)
			return err
		},
	})
}

func (p *program) dryRun(t *devlog.Target, o devlog.Options) error {
	r, err := devlog.Check(t, o)
	if err != nil {
		return err
	}
	switch r.Plan.Verdict {
	case devlog.Refused:
		return &devlog.Refusal{Reason: r.Plan.Reason, Advice: r.Plan.Advice}
	case devlog.Healthy:
		_, err = fmt.Fprintln(p.stdout, "nothing to do: syslog() works here")
		return err
	}
	fmt.Fprintf(p.stdout, "would repair by %s:\n", r.Plan.Strategy)
	for i, s := range r.Plan.Steps {
		fmt.Fprintf(p.stdout, "%d. %s\n", i+1, s)
	}
	return nil
}

func (p *program) ociCommand() *cli.Command {
	return command(cli.Command{
		Name:        "oci",
		Usage:       "run as an OCI hook: the container's state is on standard input",
		Description: "The receiver stays on the host and ends with the container.",
		Flags: flags([]cli.Flag{
			&cli.StringFlag{Name: "stage", Usage: "the hook's `STAGE`: prestart or createRuntime", EnvVars: env("STAGE")},
		}, planFlags(), receiverFlags()),
		Action: func(c *cli.Context) error {
			if _, err := hook.ParseStage(c.String("stage")); err != nil {
				return usageError{err}
			}
			p.hostSide = true
			container, err := hook.ReadOCI(p.stdin)
			if err != nil {
				return err
			}
			o, err := p.options(c, container.ID)
			if err != nil {
				return err
			}
			t, err := devlog.OfContainer(container)
			if err != nil {
				return err
			}
			defer t.Close()
			_, err = devlog.Repair(t, o)
			return err
		},
	})
}

// lxcCommand is what LXC calls. It has no arguments of its own: all flags come
// from the environment (lxc.environment). Standard input is the container's
// console and is never read.
func (p *program) lxcCommand(call hook.LXC) *cli.Command {
	return command(cli.Command{
		Name:   "lxc",
		Hidden: true,
		Flags:  flags(planFlags(), receiverFlags()),
		Action: func(c *cli.Context) error {
			if err := call.Check(); err != nil {
				return usageError{err}
			}
			o, err := p.options(c, call.Name)
			if err != nil {
				return err
			}
			o.Receiver.InitStarting = true
			t, err := devlog.Inside()
			if err != nil {
				return err
			}
			defer t.Close()
			_, err = devlog.Repair(t, o)
			return err
		},
	})
}

// targetAndOptions reads the flags of check and repair.
func (p *program) targetAndOptions(c *cli.Context) (*devlog.Target, devlog.Options, error) {
	pid, root := c.Int("pid"), c.String("root")
	var t *devlog.Target
	var name string
	var err error
	switch {
	case c.IsSet("pid") && root != "":
		err = usageError{errors.New("--pid and --root exclude each other")}
	case c.IsSet("pid") && pid < 1:
		err = usageError{fmt.Errorf("--pid %d: want a process ID", pid)}
	case c.IsSet("pid"):
		name = fmt.Sprintf("pid-%d", pid)
		if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid)); err == nil {
			if found := hook.NameFromCgroup(string(text)); found != "" {
				name = found
			}
		}
		t, err = devlog.OfProcess(pid)
	case root != "":
		name = nameOfRoot(root)
		t, err = devlog.AtRoot(root)
	default:
		if name, err = os.Hostname(); err == nil {
			t, err = devlog.Inside()
		}
	}
	if err != nil {
		return nil, devlog.Options{}, err
	}
	o, err := p.options(c, name)
	if err != nil {
		t.Close()
		return nil, devlog.Options{}, err
	}
	return t, o, nil
}
