package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"devlog/internal/environ"
	"devlog/internal/hook"
	"devlog/internal/launch"
	"devlog/internal/names"
	"devlog/internal/oldlogs"
	"devlog/internal/plan"
	"devlog/internal/repair"
	"devlog/internal/sandbox"
	"devlog/internal/settings"
	"devlog/internal/syslogconf"
	"devlog/internal/usage"
)

// env returns the environment variable that sets a flag.
func env(name string) []string { return []string{"DEVLOG_" + name} }

// flags joins lists of flags. Every command needs its own: the library stores values in them.
func flags(groups ...[]cli.Flag) []cli.Flag { return slices.Concat(groups...) }

// targetFlags choose the target. host describes --host.
func targetFlags(host string) []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "pid", Usage: "use the container of process `N`, from the host", EnvVars: env("PID")},
		&cli.StringFlag{Name: "root", Usage: "use the container with the root directory `DIR`, from the host", EnvVars: env("ROOT")},
		&cli.BoolFlag{Name: "host", Usage: host, EnvVars: env("HOST")},
	}
}

// forceHost describes --force with --host.
const forceHost = "; with --host: treat this as the host, even if it looks like a container"

func keepFlag() cli.Flag {
	return &cli.BoolFlag{Name: "keep", EnvVars: env("KEEP"),
		Usage: "start a watcher, which prepares the host again when its daemon replaces /dev/log (requires --host)"}
}

func keepLogsFlag() cli.Flag {
	return &cli.StringFlag{Name: "keep-logs", EnvVars: env("KEEP_LOGS"),
		Usage: "remove logs of ended containers `TIME` after their last message, such as 30d (default: never); at most once an hour, on the host"}
}

// planFlags choose how to repair. host describes --force with --host; empty for commands
// without --host.
func planFlags(host string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "strategy", Value: string(plan.Auto), EnvVars: env("STRATEGY"),
			Usage: "choose `HOW` to repair: auto, adopt (listen where /dev/log points), symlink (make it a link) or bind (mount a link over it)"},
		socketFlag(),
		&cli.StringSliceFlag{Name: "adopt", EnvVars: env("ADOPT"),
			Usage: "also accept a shared /dev/log that points to `PATH`; may be repeated (one a line)"},
		&cli.BoolFlag{Name: "force", EnvVars: env("FORCE"),
			Usage: "rename a /dev/log that is a directory, a regular file or a device to /dev/log.devlog-old" + host},
	}
}

func socketFlag() cli.Flag {
	return &cli.StringFlag{Name: "socket", Value: names.DefaultSocket, EnvVars: env("SOCKET"),
		Usage: "use the private socket at `PATH` in the container"}
}

func receiverFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "receiver", EnvVars: env("RECEIVER"),
			Usage: "choose `WHO` receives: auto (the host's devlogd.service if it runs, else a process for this container), node (that service), the path of a program, or none (the container's own daemon listens) (default: auto)"},
		&cli.BoolFlag{Name: "no-auto-repair", EnvVars: env("NO_AUTO_REPAIR"),
			Usage: "do not repair again if /dev/log is replaced"},
		&cli.StringFlag{Name: "name", EnvVars: env("NAME"),
			Usage: "use `NAME` for the container in messages and paths (default: its name in the runtime, or the host name)"},
		&cli.StringSliceFlag{Name: "rule",
			Usage: "add a `RULE` for the receiver, SELECTOR ACTION; may be repeated [$DEVLOG_RULE, one a line; $DEVLOG_RULE_*]"},
		&cli.StringSliceFlag{Name: "listen", EnvVars: env("LISTEN"),
			Usage: "also receive from a socket at `PATH` in the container, such as one in a daemon's chroot; may be repeated (one a line)"},
		&cli.BoolFlag{Name: "journal", EnvVars: env("JOURNAL"),
			Usage: "also receive what programs send to systemd's journal, at sockets in /run/systemd/journal in the container"},
		&cli.StringFlag{Name: "config", EnvVars: env("CONFIG"),
			Usage: "read the receiver's rules from `FILE` (default: " + syslogconf.DefaultConfig + ", if it exists)"},
		&cli.StringFlag{Name: "rate", EnvVars: env("RATE"),
			Usage: "limit the receiver to `N[/s|/m]` messages a second or minute, after a burst of N"},
		&cli.StringFlag{Name: "overflow", EnvVars: env("OVERFLOW"),
			Usage: "choose `WHAT` to do with messages above --rate: block senders (the default) or drop"},
		&cli.BoolFlag{Name: "compress-repeats", EnvVars: env("COMPRESS_REPEATS"),
			Usage: "write \"last message repeated N times\" for repeated messages"},
		&cli.StringFlag{Name: "metrics-file", EnvVars: env("METRICS_FILE"),
			Usage: "write Prometheus metrics to `PATH`; {name} in it is the container's name"},
		&cli.StringFlag{Name: "sandbox", EnvVars: env("SANDBOX"),
			Usage: "choose `WHETHER` the receiver drops privileges that it does not need: auto (the default), on or off"},
		&cli.StringFlag{Name: "user", EnvVars: env("USER"),
			Usage: "run the receiver as the user `NAME|UID[:GROUP|GID]` (requires --no-auto-repair)"},
	}
}

// limits reads the flags about the receiver's rate.
func limits(c *cli.Context) (rate syslogconf.Rate, overflow syslogconf.Overflow, err error) {
	if text := c.String("rate"); text != "" {
		if rate, err = syslogconf.ParseRate(text); err != nil {
			return rate, "", usage.Error{Err: err}
		}
	}
	if text := c.String("overflow"); text != "" {
		if overflow, err = syslogconf.ParseOverflow(text); err == nil && rate.N == 0 {
			err = fmt.Errorf("--overflow %s needs --rate", text)
		}
		if err != nil {
			return rate, "", usage.Error{Err: err}
		}
	}
	return rate, overflow, nil
}

// options reads the flags of a repair. name is the container's name without --name.
func (p *program) options(c *cli.Context, name string) (repair.Options, error) {
	if err := p.setName(c, name); err != nil {
		return repair.Options{}, err
	}
	strategy, err := plan.ParseStrategy(c.String("strategy"))
	if err != nil {
		return repair.Options{}, usage.Error{Err: err}
	}
	socket := c.String("socket")
	if err := settings.CheckSocket("socket", socket); err != nil {
		return repair.Options{}, usage.Error{Err: err}
	}
	known, err := settings.SocketPaths("adopt", c.StringSlice("adopt"))
	if err != nil {
		return repair.Options{}, usage.Error{Err: err}
	}
	listen, err := furtherSockets(c)
	if err != nil {
		return repair.Options{}, usage.Error{Err: err}
	}
	rules := c.StringSlice("rule")
	if len(rules) == 0 {
		rules = syslogconf.RulesFromEnv(os.Environ())
	}
	for _, r := range rules {
		if _, err := syslogconf.ParseRule(r); err != nil {
			return repair.Options{}, usage.Error{Err: err}
		}
	}
	rate, overflow, err := limits(c)
	if err != nil {
		return repair.Options{}, err
	}
	if p.keepLogs, err = oldlogs.ParseKeep(c.String("keep-logs")); err != nil {
		return repair.Options{}, usage.Errorf("--keep-logs: %w", err)
	}
	if !p.warned { // once, also for several containers
		p.warned = true
		for _, text := range environ.Unknown(os.Environ()) {
			p.notice(text)
		}
	}
	o := repair.Options{Socket: socket, Known: known, Listen: listen, Receiver: launch.Receiver{
		Path: c.String("receiver"), Names: launch.Names{Name: p.name}, Config: c.String("config"), Rules: rules,
		Limits: launch.Limits{Rate: rate, Overflow: overflow, CompressRepeats: c.Bool("compress-repeats"),
			MetricsFile: strings.ReplaceAll(c.String("metrics-file"), "{name}", p.name)},
		Notices: p.notices,
	}}
	if err := sandboxed(c, &o.Receiver); err != nil {
		return repair.Options{}, err
	}
	if o.Typed = p.typed; p.typed {
		o.Receiver.Warn = func(text string) { p.warnings = append(p.warnings, text) }
	}
	o.Strategy = strategy
	o.Force = c.Bool("force")
	o.NoAutoRepair = c.Bool("no-auto-repair")
	o.Watch = c.Bool("keep")
	o.NoReceiver = o.Receiver.Path == launch.NoReceiver
	return o, nil
}

// notice warns about a setting that is ignored, or has a new name. Runtimes hide what a hook writes, so the
// receiver repeats the warning among the container's messages.
func (p *program) notice(text string) {
	p.notices = append(p.notices, p.line(errors.New(text)))
}

// sandboxed reads the flags about the receiver's privileges.
func sandboxed(c *cli.Context, r *launch.Receiver) error {
	r.Sandbox, r.User = c.String("sandbox"), c.String("user")
	if _, err := sandbox.ParseMode(r.Sandbox); err != nil {
		return usage.Errorf("--sandbox: %w", err)
	}
	if r.User == "" {
		return nil
	}
	if _, err := sandbox.ParseUser(r.User); err != nil {
		return usage.Errorf("--user: %w", err)
	}
	if !c.Bool("no-auto-repair") {
		return usage.Errorf("--user %s: repairs need root; hint: add --no-auto-repair", r.User)
	}
	return nil
}

// setName sets the container's name to --name, or else to this name.
func (p *program) setName(c *cli.Context, name string) error {
	if given := c.String("name"); given != "" {
		name = given
	}
	if err := hook.CheckName(name); err != nil {
		return usage.Errorf("bad container name: %w", err)
	}
	p.name = name
	return nil
}

// furtherSockets reads --listen and --journal.
func furtherSockets(c *cli.Context) ([]string, error) {
	list, err := settings.FurtherSockets(c.StringSlice("listen"), c.String("socket"))
	if c.Bool("journal") {
		list = append(list, names.JournalEntries, names.JournalStdout)
	}
	switch {
	case err != nil || len(list) == 0:
	case c.Bool("host"):
		err = errors.New("--listen and --journal are for a container; hint: leave them out with --host")
	case c.String("receiver") == launch.NoReceiver:
		err = errors.New("--listen and --journal need a receiver; hint: leave out --receiver none, or let the container's own daemon listen there")
	}
	return list, err
}
