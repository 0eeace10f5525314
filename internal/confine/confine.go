// Package confine owns the decision which privileges a receiver keeps: of what it needs
// after its start follows the policy of its sandbox.
//
// Once everything is open a receiver on the host gives up the rights that it needs no
// more: see docs/adr/0010-sandbox.md. What it needs later is to begin its files anew, to
// run the repair, to be replaced by a newer program, and to remove at the end what was
// made for it.
package confine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/daemon"
	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/memfd"
	"devlog/internal/names"
	"devlog/internal/receiver"
	"devlog/internal/router"
	"devlog/internal/safepath"
	"devlog/internal/sandbox"
	"devlog/internal/sink"
	"devlog/internal/syslogconf"
	"devlog/internal/timezone"
)

// Options are what the administrator says, and what of it the receiver is not asked for.
type Options struct {
	Mode  sandbox.Mode
	User  *sandbox.User // nil is who starts it
	Needs string        // what the repair needs, as daemon.NeedsNames
	// Inside says that the runtime confines this process with the container.
	Inside bool
	// Passes says that open files are passed to another process: systemd keeps new sockets.
	Passes bool
	// Below is the directory from which on no link is followed to that path.
	Below func(path string) string
	// Config is the file of the rules, empty for the usual one, and Included are the
	// directories of files that it includes. Unread says that there is no file of rules.
	Config   string
	Included []string
	Unread   bool
}

// The capabilities that are kept for something.
var (
	// To write in directories of others' and to begin their files anew.
	capsOfOthers = sandbox.CapsOf(unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_CHOWN)
	capsOfNames  = sandbox.CapsOf(unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER)
	capsOfIDs    = capsOfNames | sandbox.CapsOf(unix.CAP_SETUID, unix.CAP_SETGID)
	// To enter the container's namespaces, and to look into its processes.
	capsOfMounts = capsOfIDs | sandbox.CapsOf(unix.CAP_CHOWN, unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT, unix.CAP_SYS_PTRACE)
	capsOfStdout = sandbox.CapsOf(unix.CAP_DAC_OVERRIDE, unix.CAP_SYS_PTRACE)
)

// confinement is a policy in the making.
type confinement struct {
	sandbox.Policy
	options *Options
	handles []int    // of the rules, to be closed
	writes  []string // the directories that it may write to, for people
	why     string   // Landlock is not to be used
}

// A rule is for a file that is held, and was found to be what is wanted: what has its
// name may be anything, a link to the host's root directory say, where a container
// can write there. A rule for a file is none for a directory, below which it would
// allow everything.

// add adds a rule for the handle. Without a handle it adds nothing: the file will
// not be found later either, or be another one.
func (c *confinement) add(handle int, err error, access sandbox.Access) bool {
	if err != nil {
		return false
	}
	c.handles = append(c.handles, handle)
	c.Rules = append(c.Rules, sandbox.Rule{FD: handle, Access: access})
	return true
}

// allow adds a rule for what the path leads to. Only the administrator writes there.
func (c *confinement) allow(path string, access sandbox.Access, want file.Type) {
	fd, err := file.Hold(path, want)
	c.add(fd, err, access)
}

// allowIn is allow for a path below which a container may write, and says what it
// holds; nil if there is no rule.
func (c *confinement) allowIn(path string, access sandbox.Access, want file.Type) *unix.Stat_t {
	fd, err := safepath.Hold(path, c.options.Below(path), want)
	if !c.add(fd, err, access) {
		return nil
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return nil
	}
	return &st
}

// allowFD adds a rule for an open directory.
func (c *confinement) allowFD(fd int, access sandbox.Access) {
	c.Rules = append(c.Rules, sandbox.Rule{FD: fd, Access: access})
}

func (c *confinement) close() {
	for _, fd := range c.handles {
		_ = unix.Close(fd) // they were only for the rules
	}
}

// Unhide lets a container's root see the receiver that runs within it, to end it say: it
// has nothing but what is the container's. alone says that it is no hook's: then that is
// so where not even the first process may look into others.
func Unhide(inside, alone bool) {
	own := inside
	if !own && alone {
		text, err := file.Read("/proc/1/status", 64<<10)
		own = err == nil && !mayLook(string(text))
	}
	if own {
		sandbox.Unhide()
	}
}

// mayLook says whether the process of which that is the status (proc_pid_status(5))
// can have CAP_SYS_PTRACE.
func mayLook(status string) bool {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, "CapBnd:\t"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			return err != nil || set&(1<<unix.CAP_SYS_PTRACE) != 0
		}
	}
	return true
}

// Enter gives up what the receiver does not need. It is to be called once all is open.
// notices are what the administrator is to know of it.
func Enter(o Options, needs receiver.Needs) (entered *handover.Confinement, notices []string, err error) {
	if o.Mode == sandbox.Off && o.User == nil {
		return marked("not confined (--sandbox off)"), nil, nil
	}
	c := &confinement{options: &o}
	c.User, c.Guarded, c.Passes = o.User, !o.Inside, o.Passes
	switch {
	case o.Mode == sandbox.Off:
		c.why = "--sandbox off"
	case o.Inside && o.Mode != sandbox.On:
		c.why = inContainerWords
		if o.User == nil { // a user with root's capabilities would be root
			c.Caps = ^sandbox.Caps(0)
		}
	default:
		c.decide(needs)
	}
	c.Landlock = c.why == ""
	result, err := sandbox.Enter(c.Policy)
	c.close()
	if err != nil {
		return nil, nil, err
	}
	entered = marked(c.inWords(result))
	entered.Landlock = result.Landlock > 0
	for _, problem := range result.Problems {
		if !errors.Is(problem, errors.ErrUnsupported) { // of an old kernel: check says it
			notices = append(notices, "cannot confine this receiver wholly: "+problem.Error())
		}
	}
	if o.Mode == sandbox.On && needs.Root >= 0 && o.Needs == daemon.NeedsMounts {
		notices = append(notices, "confined (--sandbox on): a bind mount over /dev/log that is lost cannot be repaired")
	}
	return entered, notices, nil
}

// decide finds out what is needed later.
func (c *confinement) decide(needs receiver.Needs) {
	c.allow("/proc", sandbox.Read, file.Directory)
	null, err := file.HoldNull()
	c.add(null, err, sandbox.Read|sandbox.Write)
	kernelLog, err := file.HoldKernelLog(syslogconf.KernelLog)
	c.add(kernelLog, err, sandbox.Write)
	c.program("/proc/self/exe")
	c.configuration()
	for _, route := range needs.Outputs {
		c.output(route)
	}
	if needs.Metrics != "" {
		_ = os.MkdirAll(filepath.Dir(needs.Metrics), 0o755) // said when it is written to
		c.directory(filepath.Dir(needs.Metrics))
	}
	for _, path := range needs.Sockets {
		if dir := filepath.Dir(path); dir != "/" { // below that is everything
			c.others(c.allowIn(dir, sandbox.Unlink, file.Directory))
		}
	}
	for _, n := range needs.Names {
		c.name(n)
	}
	if needs.Root >= 0 {
		c.command(needs)
	}
	if c.User != nil && needs.Removes && sandbox.ABI() > 0 {
		c.Caps |= sandbox.CapsOf(unix.CAP_DAC_OVERRIDE) // to remove them; Landlock says where
	}
}

// program allows the program to be executed that is in that file, or will be in
// its place.
func (c *confinement) program(path string) {
	if to, err := os.Readlink(path); err == nil {
		path = to
	}
	dir := filepath.Dir(path)
	switch {
	case !filepath.IsAbs(path), strings.HasPrefix(path, memfd.Prefix):
	case dir == "/": // all files could be read then
		c.allow(path, sandbox.Execute, file.Regular)
	default:
		c.allow(dir, sandbox.Execute, file.Directory)
	}
}

// configuration allows what is read again on SIGHUP, and by a newer program that
// replaces this one: the rules, and what the time is called here.
func (c *confinement) configuration() {
	c.allow(timezone.Localtime, sandbox.Read, file.Regular)
	for _, path := range timezone.Dirs {
		c.allow(path, sandbox.Read, file.Directory)
	}
	if path := strings.TrimPrefix(os.Getenv("TZ"), ":"); filepath.IsAbs(path) {
		c.allow(path, sandbox.Read, file.Regular)
	}
	o := c.options
	if o.Unread {
		return
	}
	for _, dir := range o.Included {
		if dir != "/etc" && dir != "/" {
			c.allow(dir, sandbox.Read, file.Directory)
		}
	}
	c.allow(filepath.Dir(syslogconf.DefaultConfigs), sandbox.Read, file.Directory)
	for _, path := range []string{o.Config, syslogconf.DefaultConfig} {
		if path == "" {
			continue
		}
		c.allow(path, sandbox.Read, file.Regular)
		// It may be replaced. In /etc are files that are nobody's to read.
		if dir := filepath.Dir(path); dir != "/etc" && dir != "/" {
			c.allow(dir, sandbox.Read, file.Directory)
		}
	}
}

// directory allows a directory's files to be written, begun anew and removed. In
// /dev and / it would allow more than that.
func (c *confinement) directory(path string) {
	if path == names.Dev || path == "/" {
		return
	}
	st := c.allowIn(path, sandbox.Read|sandbox.Write|sandbox.Files, file.Directory)
	if st == nil {
		return
	}
	c.others(st)
	if !slices.Contains(c.writes, path) {
		c.writes = append(c.writes, path)
	}
}

// output allows what a route's output does later.
func (c *confinement) output(route router.Route) {
	rule := route.Rules[0]
	switch rule.Kind {
	case syslogconf.File:
		c.others(c.allowIn(rule.Path, sandbox.Read|sandbox.Write, file.Regular))
		c.directory(filepath.Dir(rule.Path))
		if c.options.Below(rule.Path) != "" && strings.HasPrefix(filepath.Clean(rule.Path), c.options.Below(rule.Path)+"/") {
			return // no link is followed there
		}
		if name, err := filepath.EvalSymlinks(rule.Path); err == nil && name != rule.Path {
			c.directory(filepath.Dir(name))
		}
	case syslogconf.FIFO:
		c.others(c.allowIn(rule.Path, sandbox.Read|sandbox.Write, file.FIFO))
		if dir := filepath.Dir(rule.Path); dir != names.Dev && dir != "/" { // it may be made anew
			c.allowIn(dir, sandbox.Read|sandbox.Write, file.Directory)
		}
	case syslogconf.Terminal:
		fd, err := sink.HoldTerminal(rule.Path, c.options.Below(rule.Path))
		var st unix.Stat_t
		if c.add(fd, err, sandbox.Read|sandbox.Write|sandbox.Device) && unix.Fstat(fd, &st) == nil {
			c.others(&st)
		}
	case syslogconf.ContainerStdout:
		if s, ok := router.Behind(route.Out).(*sink.Stream); !ok || !s.Held() {
			c.why = "container-stdout is no pipe: it is looked up in /proc when it is written to"
			c.Caps |= capsOfStdout
		}
	}
}

// others keeps the capabilities to go on with what is another user's.
func (c *confinement) others(st *unix.Stat_t) {
	if st == nil || c.User != nil {
		return
	}
	if int(st.Uid) != os.Geteuid() {
		c.Caps |= capsOfOthers
	} else if st.Mode&unix.S_IFMT == unix.S_IFREG && int(st.Gid) != os.Getegid() {
		c.Caps |= sandbox.CapsOf(unix.CAP_CHOWN)
	}
}

// name allows the name to be removed at the end.
func (c *confinement) name(n receiver.Name) {
	access := sandbox.Unlink
	if n.IsDir {
		access = sandbox.Rmdir
	}
	c.allowFD(n.Dir, access)
	var st unix.Stat_t
	if unix.Fstat(n.Dir, &st) == nil && int(st.Uid) != os.Geteuid() {
		c.Caps |= capsOfNames
	}
	if n.Name == names.Record { // of an earlier version; now it is a link
		fd, err := file.HoldIn(n.Dir, names.Record, file.Regular)
		c.add(fd, err, sandbox.Read)
	}
}

// command allows what the command that repairs does.
func (c *confinement) command(needs receiver.Needs) {
	c.program(needs.Command[0])
	switch c.options.Needs {
	case daemon.NeedsNames, daemon.NeedsHost:
		c.Caps |= capsOfNames
	case daemon.NeedsIDs:
		c.Caps |= capsOfIDs
	default:
		if c.options.Mode != sandbox.On {
			c.Caps |= capsOfMounts
			c.why = "its repair mounts; prepare the host with devlog-hook repair --host, or use --sandbox on"
			return
		}
		c.Caps |= capsOfNames
	}
	if c.options.Needs == daemon.NeedsHost {
		c.allow(names.Dev, sandbox.Names, file.Directory)
		c.allow("/run/devlog", sandbox.Names|sandbox.Read, file.Directory)
		return
	}
	c.allowFD(needs.Root, sandbox.Names)
	c.writes = append(c.writes, "the container")
}

// inContainerWords are said of a receiver that is confined with its container.
const inContainerWords = "with the container's own rights"

// inWords says what the sandbox is, for people.
func (c *confinement) inWords(result sandbox.Result) string {
	caps := "no capabilities"
	switch kept := c.Caps; {
	case !result.Caps:
		caps = "all its capabilities"
	case kept == ^sandbox.Caps(0):
		caps = "capabilities as before"
	case kept != 0:
		caps = "capabilities " + kept.String()
	}
	if result.Landlock > 0 {
		where := "nowhere"
		if len(c.writes) > 0 {
			where = "to " + strings.Join(c.writes, ", ") + " only"
		}
		if !result.Keeps {
			where += ", can pass on open files"
		}
		return fmt.Sprintf("confined (%s, writes %s)", caps, where)
	}
	if c.why == inContainerWords {
		return c.why
	}
	why := c.why
	if why == "" {
		why = "no Landlock"
		for _, p := range result.Problems {
			why = p.Error()
		}
	}
	return fmt.Sprintf("not confined to directories (%s): %s", caps, why)
}

// marked is a confinement of which check says that.
func marked(text string) *handover.Confinement {
	c := &handover.Confinement{Mark: -1}
	if fd, err := memfd.Create(daemon.ConfinedPrefix+text, memfd.Data); err == nil { // else check says less
		c.Mark = fd
	}
	return c
}
