package devlogd

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/confine"
	"devlog/internal/daemon"
	"devlog/internal/environ"
	"devlog/internal/receiver"
	"devlog/internal/sandbox"
	"devlog/internal/syslogconf"
)

// options are the command line's and the environment's.
type options struct {
	receiver receiver.Config // as far as options set it
	rules    rules
	hosts    []string // more names that clients may call this host
	kind     int      // the type for --listen options that follow, or 0
	action
	alone   bool // exit when alone in the PID namespace
	await   bool // process 1 has not executed its program yet
	ready   int  // the descriptor for the ready report; 0 for none
	confine confine.Options
	notices []string // messages for the start
	unknown []string // arguments of another version
}

// rules is where the rules are.
type rules struct {
	texts  []string
	config string
	// included are the directories of files that config includes, after it was read.
	included []string
}

// action is what to do instead of receiving.
type action struct {
	check, version, help bool
	node, reader         bool // this is a process of a host's service
}

// setListen handles --listen. It uses the type from a --type before it, unless an earlier
// --listen has used that.
func (o *options) setListen(path string) error {
	o.receiver.Listen = append(o.receiver.Listen, receiver.Listen{Path: path, Kind: o.kind})
	return nil
}

// setType handles --type: it applies to the earlier --listen options without a type or, if
// there are none, to those that follow.
func (o *options) setType(name string) error {
	kind := unix.SOCK_DGRAM
	switch name {
	case "dgram":
	case "stream":
		kind = unix.SOCK_STREAM
	default:
		return fmt.Errorf("expected dgram or stream, not %q", name)
	}
	o.kind = kind
	for i := range o.receiver.Listen {
		if l := &o.receiver.Listen[i]; l.Kind == 0 {
			l.Kind, o.kind = kind, 0
		}
	}
	return nil
}

// setReady handles --ready-fd.
func (o *options) setReady(text string) (err error) {
	if o.ready, err = strconv.Atoi(text); err != nil || o.ready < 1 {
		return fmt.Errorf("expected the number of a descriptor, not %q", text)
	}
	return nil
}

// sayReady reports on --ready-fd that the receiver is ready. After an upgrade the earlier
// program has done that.
func (o *options) sayReady(upgraded bool) error {
	if o.ready == 0 || upgraded {
		return nil
	}
	_, err := unix.Write(o.ready, []byte{'\n'})
	if err == nil && o.ready > 2 {
		err = unix.Close(o.ready)
	}
	if err != nil {
		return fmt.Errorf("--ready-fd %d: cannot report that the receiver is ready: %w", o.ready, err)
	}
	return nil
}

// setLogs handles --logs-dir.
func (o *options) setLogs(dir string) error {
	if !strings.HasPrefix(dir, "/") || filepath.Clean(dir) != dir || dir == "/" {
		return fmt.Errorf("want an absolute path without . and .. elements, not %q", dir)
	}
	o.receiver.Logs = dir
	return nil
}

// setUser handles --user. An empty value is no user.
func (o *options) setUser(text string) error {
	u, err := sandbox.ParseUser(text)
	o.confine.User = &u
	return err
}

func (o *options) setNeeds(text string) error {
	switch text {
	case daemon.NeedsNames, daemon.NeedsHost, daemon.NeedsIDs, daemon.NeedsMounts:
		o.confine.Needs = text
		return nil
	}
	return fmt.Errorf("want names, host, ids or mounts, not %q", text)
}

const usage = `devlogd - receive what programs send to /dev/log

usage: devlogd [--listen PATH]... [--rule RULE]... [options] [-- COMMAND ARGS...]

  --listen PATH      receive from a socket at PATH (may be repeated); without it
                     from the sockets of LISTEN_FDS (socket activation)
  --type TYPE        set the type of the --listen sockets before it that have
                     none, or else of those after it: dgram (default) or stream
  --kernel           also read the kernel's log from /dev/kmsg, new records only
  --rule RULE        add a rule, 'SELECTOR ACTION' as in devlogd.conf(5), such as
                     '*.info;mail.none -/var/log/messages' (may be repeated)
  --config FILE      read rules from FILE; without it and without --rule:
                     /etc/devlogd.conf and /etc/devlogd.d/*.conf if they exist,
                     else '*.* -/var/log/messages' and '*.crit /dev/kmsg'
  --name NAME        write NAME instead of this machine's host name
  --line-host NAME   write NAME as the host in lines (default: as --name)
  --container-name NAME
                     call the container NAME in entries of the host's journal and
                     messages to its syslog daemon (default: as --line-host)
  --host-name NAME   also leave NAME out of messages where a program writes it as
                     its host (may be repeated)
  --rate N[/s|/m]    limit each socket to N messages a second or minute, after a
                     burst of N
  --overflow HOW     handle messages above --rate: block (default: senders wait)
                     or drop (count them as lost)
  --compress-repeats write "last message repeated N times" for repeats
  --metrics-file PATH
                     write Prometheus metrics to PATH
  --logs-dir DIR     follow no link below DIR, where a container may have made
                     one (default: /var/log/devlog)
  --ready-fd N       write a newline to descriptor N when ready, and close it (the
                     notification-fd of s6)
  --sandbox WHEN     drop privileges after the start: auto (default: those that
                     COMMAND does not need), on or off
  --user NAME|UID[:GROUP|GID]
                     run as this user once sockets and outputs are open (not with
                     COMMAND)
  --notice TEXT      log TEXT as a warning at the start (may be repeated)
  --node             be the service of this host, to which hooks hand containers
                     over at /run/devlog/node; of the options above, only
                     --sandbox and --user apply, to the process that reads
                     messages (default user: devlog, if that exists)
  --check-config     check the rules and exit
  --exit-when-alone  exit when only LXC's init is left, which waits for this
                     process (lxc-execute)
  --await-init       wait for process 1 to execute its program first (requires
                     --exit-when-alone)
  --command-needs PRIVILEGES
                     keep the privileges that COMMAND needs: names (make names in
                     the container's root), host (in /dev and /run/devlog), ids
                     (names, as another user) or mounts (default)
  --private-dev      look at /dev/log at intervals, without inotify: only the
                     container can replace it
  --version, --help  print the version or this help, and exit
  -- COMMAND ARGS... run COMMAND when /dev/log is replaced (used by devlog-hook,
                     which also passes the container's root)

Each option can be set in the environment as DEVLOG_NAME, such as DEVLOG_CONFIG;
DEVLOG_LISTEN and DEVLOG_RULE hold one value a line, and each DEVLOG_RULE_xxx is
one more rule. An option overrides its variable.

signals: INT: write what was received, and exit
         TERM: the same, but a receiver on the host first waits for its
         container's end
         HUP: reread the rules and the time zone, and reopen the files
         USR1: write the counters: messages received, written and lost
         USR2: upgrade in place to the program now on disk
exit status: 0 done, 2 wrong usage or rule, 4 failed
`

// flag is one flag.
type flag struct {
	name   string
	toggle bool               // it has no value
	list   bool               // may be repeated
	set    func(string) error // is called for each value
}

func (o *options) flags() []flag {
	text := func(p *string) func(string) error {
		return func(v string) error { *p = v; return nil }
	}
	list := func(p *[]string) func(string) error {
		return func(v string) error { *p = append(*p, v); return nil }
	}
	toggle := func(p *bool) func(string) error {
		return func(v string) (err error) {
			if *p, err = strconv.ParseBool(v); err != nil {
				err = fmt.Errorf("want true or false, not %q", v)
			}
			return err
		}
	}
	return []flag{
		{name: "listen", list: true, set: o.setListen},
		{name: "type", list: true, set: o.setType},
		{name: "kernel", toggle: true, set: toggle(&o.receiver.Kernel)},
		{name: "rule", list: true, set: list(&o.rules.texts)},
		{name: "config", set: text(&o.rules.config)},
		{name: "name", set: text(&o.receiver.Name)},
		{name: "line-host", set: text(&o.receiver.LineHost)},
		{name: "container-name", set: text(&o.receiver.ContainerName)},
		{name: "host-name", list: true, set: list(&o.hosts)},
		{name: "rate", set: func(v string) (err error) { o.receiver.Limit.Rate, err = syslogconf.ParseRate(v); return err }},
		{name: "overflow", set: func(v string) (err error) { o.receiver.Limit.Overflow, err = syslogconf.ParseOverflow(v); return err }},
		{name: "compress-repeats", toggle: true, set: toggle(&o.receiver.Compress)},
		{name: "metrics-file", set: text(&o.receiver.Metrics)},
		{name: "logs-dir", set: o.setLogs},
		{name: "ready-fd", set: o.setReady},
		{name: "sandbox", set: func(v string) (err error) { o.confine.Mode, err = sandbox.ParseMode(v); return err }},
		{name: "user", set: o.setUser},
		{name: "notice", list: true, set: list(&o.notices)},
		{name: "command-needs", set: o.setNeeds},
		{name: "private-dev", toggle: true, set: toggle(&o.receiver.Repair.Private)},
		{name: "node", toggle: true, set: toggle(&o.node)},
		{name: "node-reader", toggle: true, set: toggle(&o.reader)},
		{name: "check-config", toggle: true, set: toggle(&o.check)},
		{name: "exit-when-alone", toggle: true, set: toggle(&o.alone)},
		{name: "await-init", toggle: true, set: toggle(&o.await)},
		{name: "version", toggle: true, set: toggle(&o.version)},
		{name: "help", toggle: true, set: toggle(&o.help)},
	}
}

// toSay returns the warnings of a start. If the program continues, the earlier program has
// reported those of the command line.
func (o *options) toSay(resumed bool) []string {
	if !resumed {
		return o.notices
	}
	if len(o.unknown) == 0 {
		return nil
	}
	return []string{"devlogd " + Version + " ignores arguments that it does not know: " + strings.Join(o.unknown, " ")}
}

// parseOptions parses the arguments (without the program's name) and, for flags that are not
// among them, the environment ("NAME=value"). ofAnother says that another version made the
// command line: then it skips unknown flags and their values.
func parseOptions(args, env []string, ofAnother bool) (*options, error) {
	o := &options{}
	flags := o.flags()
	given := make(map[string]bool)
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			o.receiver.Repair.Command = args[i+1:]
			break
		}
		name, value, hasValue := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		n := slices.IndexFunc(flags, func(f flag) bool {
			return f.name == name || f.name == "help" && name == "h"
		})
		if n < 0 && ofAnother { // its value, if any, is skipped here too
			o.unknown = append(o.unknown, strconv.Quote(args[i]))
			continue
		}
		if !strings.HasPrefix(args[i], "-") || n < 0 {
			return nil, fmt.Errorf("unknown argument %q; see devlogd --help", args[i])
		}
		f := flags[n]
		if !hasValue && f.toggle {
			value = "true"
		} else if !hasValue {
			if i++; i == len(args) {
				return nil, fmt.Errorf("--%s needs a value; see devlogd --help", f.name)
			}
			value = args[i]
		}
		if given[f.name] && !f.list && !f.toggle {
			return nil, fmt.Errorf("--%s is given twice", f.name)
		}
		given[f.name] = true
		if err := f.set(value); err != nil {
			return nil, fmt.Errorf("--%s: %w", f.name, err)
		}
	}
	for _, f := range flags {
		if given[f.name] || f.name == "help" || f.name == "version" || f.name == "node" || f.name == "node-reader" {
			continue
		}
		if f.name == "rule" {
			o.rules.texts = syslogconf.RulesFromEnv(env)
			continue
		}
		if err := f.setFromEnv(env); err != nil {
			return nil, err
		}
	}
	o.notices = append(o.notices, environ.Unknown(env)...)
	return o, o.validate()
}

// setFromEnv uses the value of DEVLOG_<NAME>, or each of its lines if the flag may be
// repeated.
func (f flag) setFromEnv(env []string) error {
	variable := "DEVLOG_" + strings.ToUpper(strings.ReplaceAll(f.name, "-", "_"))
	for _, e := range env {
		key, value, _ := strings.Cut(e, "=")
		if key != variable {
			continue
		}
		values := []string{value}
		if f.list {
			values = strings.Split(value, "\n")
		}
		for _, v := range values {
			if strings.TrimSpace(v) == "" {
				continue
			}
			if err := f.set(v); err != nil {
				return fmt.Errorf("environment variable %s: %w", key, err)
			}
		}
	}
	return nil
}

func (o *options) validate() error {
	for i := range o.receiver.Listen {
		if l := &o.receiver.Listen[i]; l.Kind == 0 {
			l.Kind = unix.SOCK_DGRAM
		}
	}
	limit := &o.receiver.Limit
	if limit.Overflow != "" && limit.Rate.N == 0 {
		return fmt.Errorf("--overflow %s needs --rate", limit.Overflow)
	}
	if limit.Overflow == "" {
		limit.Overflow = syslogconf.Block
	}
	if o.confine.User != nil && len(o.receiver.Repair.Command) > 0 {
		return errors.New("--user: repairs need root; hint: leave out COMMAND (devlog-hook does with --no-auto-repair)")
	}
	if o.confine.Needs == "" {
		o.confine.Needs = daemon.NeedsMounts
	}
	if err := checkName("line-host", o.receiver.LineHost); err != nil {
		return err
	}
	if err := checkName("container-name", o.receiver.ContainerName); err != nil {
		return err
	}
	for _, name := range o.hosts {
		if err := checkName("host-name", name); err != nil {
			return err
		}
	}
	return checkName("name", o.receiver.Name)
}

// checkName returns an error if a host cannot have that name.
func checkName(flag, name string) error {
	if len(name) > 255 {
		return fmt.Errorf("--%s: %d bytes are too long: at most 255 are possible", flag, len(name))
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f {
			return fmt.Errorf("--%s %q: a blank, control or non-ASCII character at byte %d; hint: use letters, digits, '.' and '-'", flag, name, i+1)
		}
	}
	return nil
}
