package cli

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"devlog/internal/failure"
	"devlog/internal/handover"
	"devlog/internal/hosts"
	"devlog/internal/lost"
	"devlog/internal/names"
	"devlog/internal/plan"
	"devlog/internal/repair"
	"devlog/internal/report"
	"devlog/internal/running"
	"devlog/internal/settings"
	"devlog/internal/syslog"
	"devlog/internal/target"
	"devlog/internal/undo"
	"devlog/internal/usage"
)

func (p *program) checkCommand() *cli.Command {
	return usage.ContainerCommand(cli.Command{
		Name:  "check",
		Usage: "print what /dev/log is, whether syslog() works, and what repair would do",
		Description: "Without arguments, check reports on the container in which it runs; on a host, on the host and on\n" +
			"each of its containers, in one screen. With --host, it reports on the host and on the containers that\n" +
			"share its /dev. Exit code: 0 healthy; 1 a repair is needed; 3 a repair would be refused. On a host, 1\n" +
			"means that the host or one of its containers needs a repair, 3 that all of these would be refused. A\n" +
			"container with a /dev of its own counts only if devlog was set up for it. Terminals get colors, unless\n" +
			"NO_COLOR is set.",
		Flags: flags(targetFlags("check the host, and list all containers that share its /dev"), planFlags(forceHost), []cli.Flag{
			&cli.BoolFlag{Name: "json", Usage: "write JSON, for programs", EnvVars: env("JSON")},
		}),
		Action: p.onTarget(func(c *cli.Context, t *target.Target, o repair.Options) error {
			r, err := repair.Check(t, o)
			if err != nil {
				return err
			}
			if c.Bool("host") {
				return p.checkHost(c, r, o)
			}
			if !r.Works() {
				r.Hook = failure.Of(t, p.name)
			}
			if !t.Inside {
				r.Ignored = hosts.Ignored(t.PID)
			}
			receivers, _ := running.List() // without it nothing is known of their logs
			trouble := running.LogTrouble(receivers)
			r.Facts.Receiver.LogTrouble = trouble(r.Facts.Receiver.PID, t.PID)
			if t.Inside { // no target was named
				list, err := hosts.All(o)
				if err != nil {
					return err
				}
				for i, s := range list {
					list[i].Facts.Receiver.LogTrouble = trouble(s.Facts.Receiver.PID, s.PID)
				}
				if len(list) > 0 || t.OnHost() {
					return p.summarize(c, t, r, list, o)
				}
			}
			if err := report.Check(p.stdout, r, c.Bool("json")); err != nil {
				return err
			}
			return answer(report.Verdict(r))
		}),
	})
}

func (p *program) repairCommand() *cli.Command {
	return usage.ContainerCommand(cli.Command{
		Name:  "repair",
		Usage: "make /dev/log point to a private socket with a receiver",
		Description: "Does nothing where syslog() works already. Without CONTAINER, --pid and --root, repair\n" +
			"works on the root directory that it runs in.",
		Flags: flags(targetFlags("prepare the host: make its /dev/log a link, so that containers can have their own log"), planFlags(forceHost), receiverFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "print what would be done, and do nothing", EnvVars: env("DRY_RUN")},
			keepFlag(), keepLogsFlag(),
			&cli.BoolFlag{Name: "all", Usage: "also repair every container that shares the host's /dev (requires --host)", EnvVars: env("ALL")},
		}),
		Action: p.onTarget(func(c *cli.Context, t *target.Target, o repair.Options) error {
			if c.Bool("all") && !c.Bool("host") {
				return usage.Errorf("--all needs --host")
			}
			if c.Bool("keep") && !c.Bool("host") {
				return usage.Errorf("--keep needs --host: a container's receiver repairs again by itself")
			}
			if c.Bool("all") && c.IsSet("name") {
				return usage.Errorf("--name names one container; hint: leave it out with --all")
			}
			if c.Bool("dry-run") {
				return p.dryRun(c, t, o)
			}
			r, err := repair.Do(t, o)
			if err != nil {
				return err
			}
			p.sayRepaired(c, t, o, r)
			failure.Forget(t, p.name)
			if c.Bool("all") {
				err = p.repairSharers(c, o)
			}
			if t.Host || !t.ReceiverInside() {
				p.clearLogs()
			}
			return err
		}),
	})
}

// undoOf returns the command that undoes a repair of the same target.
func undoOf(c *cli.Context) string {
	typed := programName + " undo"
	for _, flag := range []string{"pid", "root"} {
		if c.IsSet(flag) {
			typed += fmt.Sprintf(" --%s %v", flag, c.Value(flag))
		}
	}
	if c.Bool("host") {
		typed += " --host"
	}
	if c.Args().Present() {
		typed += " " + c.Args().First()
	}
	return typed
}

func nothingToDo(c *cli.Context, r repair.Result) string {
	words := "nothing to do: syslog() works here"
	switch {
	case c.Bool("host"):
		words = "nothing to do: the host is prepared"
	case r.Plan.Advice != "":
		words = "nothing to do"
	}
	for _, flag := range []string{"name", "rule", "config", "receiver", "socket"} {
		if c.IsSet(flag) && r.Facts.Watcher {
			words += "; the receiver that runs keeps its own options; hint: run " + undoOf(c) + " first"
			break
		}
	}
	if r.Plan.Advice != "" {
		words += "; hint: " + syslog.Escape(r.Plan.Advice)
	}
	return words
}

func (p *program) dryRun(c *cli.Context, t *target.Target, o repair.Options) error {
	r, err := repair.Check(t, o)
	if err != nil {
		return err
	}
	switch r.Plan.Verdict {
	case plan.Refused:
		return &plan.Refusal{Reason: r.Plan.Reason, Advice: r.Plan.Advice}
	case plan.Healthy:
		fmt.Fprintln(p.stdout, nothingToDo(c, r))
	default:
		report.Steps(p.stdout, r.Plan)
	}
	if !c.Bool("all") {
		return nil
	}
	list, err := hosts.List(o)
	report.SharersSteps(p.stdout, list)
	return err
}

func (p *program) undoCommand() *cli.Command {
	return usage.ContainerCommand(cli.Command{
		Name:  "undo",
		Usage: "put back what repair changed",
		Description: "Ends the receiver, which first writes its queued messages. Without CONTAINER, --pid, --root\n" +
			"and --host, undo works on the root directory that it runs in.",
		Flags: flags(targetFlags("undo the preparation of the host"), []cli.Flag{socketFlag()}),
		Action: func(c *cli.Context) error {
			if err := settings.CheckSocket("socket", c.String("socket")); err != nil {
				return usage.Error{Err: err}
			}
			t, name, err := p.target(c)
			if err != nil {
				return err
			}
			defer t.Close()
			undone, err := undo.Do(t, c.String("socket"))
			if err != nil {
				return err
			}
			if undone && !t.Host && !t.ReceiverInside() {
				p.removeEmptyLogs(name)
			}
			said := "nothing to do: no repair is recorded here"
			switch {
			case undone && !c.Bool("host") && hosts.Prepared(t):
				said = "undone; the host stays prepared, because other containers may rely on it (to undo that too: devlog-hook undo --host)"
			case undone:
				said = "undone: /dev/log is what it was before the repair"
			}
			_, err = fmt.Fprintln(p.stdout, said)
			if err == nil && undone && c.Bool("host") {
				err = each(hosts.RepairMounts())
			}
			return err
		},
	})
}

// autoRepairCommand is the command that a receiver runs after /dev/log was replaced. It
// repairs the container whose handles it inherits, for the receiver that already runs.
func (p *program) autoRepairCommand() *cli.Command {
	return usage.Command(cli.Command{
		Name:   names.AutoRepair,
		Hidden: true,
		Flags: flags(planFlags(""), receiverFlags(), []cli.Flag{keepFlag(),
			&cli.BoolFlag{Name: "host", Usage: "it is the host", EnvVars: env("HOST")},
			&cli.StringFlag{Name: "container", Usage: "what the receiver's sandbox hides of the container", EnvVars: env("CONTAINER")},
			&cli.BoolFlag{Name: "confined", Usage: "it runs in the receiver's sandbox", EnvVars: env("CONFINED")}}),
		Action: func(c *cli.Context) error {
			o, err := p.options(c, "auto-repair") // any name: the receiver has its own
			if err != nil {
				return err
			}
			files, err := handover.Inherited()
			if err != nil {
				return err
			}
			for _, f := range files {
				switch f.Name {
				case handover.NameReceiver:
					o.Receiver.Handover = os.NewFile(uintptr(f.FD), f.Name)
				case handover.NameUnbound:
					o.Receiver.Unbound = os.NewFile(uintptr(f.FD), f.Name)
				}
			}
			if o.Receiver.Handover == nil {
				return usage.Errorf("auto-repair is for devlogd to call; hint: use devlog-hook repair")
			}
			r, err := repairOne(func() (*target.Target, error) {
				return target.OfReceiver(files, c.Bool("host"), c.String("container"), c.Bool("confined"))
			}, o)
			if r.Changed { // for the receiver, which counts repairs
				fmt.Fprintln(p.stderr, report.Done(r))
			}
			return err
		},
	})
}

// repairLostCommand is the command that the host's service runs when it starts without the sockets
// of a container that it had.
func (p *program) repairLostCommand() *cli.Command {
	return usage.Command(cli.Command{
		Name:   names.RepairLost,
		Hidden: true,
		Flags:  []cli.Flag{&cli.Uint64Flag{Name: "container", Usage: "the service's `NUMBER` of the container", EnvVars: env("CONTAINER")}},
		Action: func(c *cli.Context) error { return repair.Lost(lost.Dir, c.Uint64("container")) },
	})
}
