// Package confine decides which privileges a receiver keeps: what it needs after its start
// determines its sandbox's policy.
//
// When everything is open, a receiver on the host drops the privileges that it does not need
// any more (docs/adr/0010-sandbox.md). Later it must still open its files again, run the
// repair, be replaced by a newer program, and remove names at its end.
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

// Options are the administrator's choices, and what the receiver does not know.
type Options struct {
	Mode  sandbox.Mode
	User  *sandbox.User // nil to stay the same user
	Needs string        // what the repair needs, such as daemon.NeedsNames
	// Inside says that the runtime confines this process together with the container.
	Inside bool
	// Below returns the directory below which no links are followed on that path.
	Below func(path string) string
	// Config is the rules' file, empty for the default, and Included are the directories of
	// files that it includes. Unread says that no file of rules is read.
	Config   string
	Included []string
	Unread   bool
}

// The capabilities for each purpose.
var (
	// To write to other users' directories and open files in them again.
	capsOfOthers = sandbox.CapsOf(unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_CHOWN)
	capsOfNames  = sandbox.CapsOf(unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER)
	capsOfIDs    = capsOfNames | sandbox.CapsOf(unix.CAP_SETUID, unix.CAP_SETGID)
	// To enter the container's namespaces and inspect its processes.
	capsOfMounts = capsOfIDs | sandbox.CapsOf(unix.CAP_CHOWN, unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT, unix.CAP_SYS_PTRACE)
	capsOfStdout = sandbox.CapsOf(unix.CAP_DAC_OVERRIDE, unix.CAP_SYS_PTRACE)
)

// confinement is a policy that is being made.
type confinement struct {
	sandbox.Policy
	options *Options
	handles []int    // of the rules, to close
	writes  []string // the directories that it may write to, for messages
	why     string   // why not to use Landlock
}

// A rule is for a file that is held and whose type was checked: where a container can write, a
// name may be anything, for example a link to the host's root directory. A rule for a file
// cannot be one for a directory, which would allow everything below it.

// add adds a rule for the handle. It adds nothing after an error: the file cannot be opened
// later either, or will be another one.
func (c *confinement) add(handle int, err error, access sandbox.Access) bool {
	if err != nil {
		return false
	}
	c.handles = append(c.handles, handle)
	c.Rules = append(c.Rules, sandbox.Rule{FD: handle, Access: access})
	return true
}

// allow adds a rule for a path to which only the administrator writes.
func (c *confinement) allow(path string, access sandbox.Access, want file.Type) {
	fd, err := file.Hold(path, want)
	c.add(fd, err, access)
}

// allowIn is allow for a path below which a container may write. It returns the file's
// attributes; nil if it added no rule.
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
		_ = unix.Close(fd) // only the rules needed them
	}
}

// Unhide lets the container's root inspect the receiver in it, for example to end it: the
// receiver only has the container's privileges. alone says that no hook started the receiver.
// Then it stays hidden if not even the container's first process may inspect others.
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

// mayLook returns whether the process with that status (proc_pid_status(5)) can have
// CAP_SYS_PTRACE.
func mayLook(status string) bool {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, "CapBnd:\t"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			return err != nil || set&(1<<unix.CAP_SYS_PTRACE) != 0
		}
	}
	return true
}

// Enter drops the privileges that the receiver does not need. Call it when everything is open.
// notices are for the administrator.
func Enter(o Options, needs receiver.Needs) (entered *handover.Confinement, notices []string, err error) {
	if o.Mode == sandbox.Off && o.User == nil {
		return marked("not confined (--sandbox off)"), nil, nil
	}
	c := &confinement{options: &o}
	c.User, c.Guarded = o.User, !o.Inside
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
		if !errors.Is(problem, errors.ErrUnsupported) { // check reports an old kernel
			notices = append(notices, "cannot confine this receiver wholly: "+problem.Error())
		}
	}
	if o.Mode == sandbox.On && needs.Root >= 0 && o.Needs == daemon.NeedsMounts {
		notices = append(notices, "confined (--sandbox on): a bind mount over /dev/log that is lost cannot be repaired")
	}
	return entered, notices, nil
}

// decide determines what is needed later.
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
		_ = os.MkdirAll(filepath.Dir(needs.Metrics), 0o755) // writing the metrics reports an error
		c.directory(filepath.Dir(needs.Metrics))
	}
	for _, dir := range needs.Dirs {
		c.directory(dir)
	}
	for _, path := range needs.Sockets {
		if dir := filepath.Dir(path); dir != "/" { // everything is below /
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
		c.Caps |= sandbox.CapsOf(unix.CAP_DAC_OVERRIDE) // to remove them; Landlock limits where
	}
}

// program allows executing the program in that file, and later versions of the file.
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

// configuration allows what SIGHUP, or a newer program, reads again: the rules and the time
// zone.
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
		// The file may be replaced. /etc also has files that must not be readable.
		if dir := filepath.Dir(path); dir != "/etc" && dir != "/" {
			c.allow(dir, sandbox.Read, file.Directory)
		}
	}
}

// directory allows writing, replacing and removing files in a directory. It does nothing for
// /dev and /, where that would allow too much.
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
		if dir := filepath.Dir(rule.Path); dir != names.Dev && dir != "/" { // the file may be created again
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

// others keeps the capabilities for files of other users.
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

// name allows removing the name at the end.
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
	if n.Name == names.Record { // it is a link, or a file if a link cannot hold its text
		fd, err := file.HoldIn(n.Dir, names.Record, file.Regular)
		c.add(fd, err, sandbox.Read)
	}
}

// command allows what the repair command does.
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

// inContainerWords describe a receiver that is confined together with its container.
const inContainerWords = "with the container's own rights"

// inWords describes the sandbox.
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

// marked returns a confinement that check shows with that text.
func marked(text string) *handover.Confinement {
	c := &handover.Confinement{Mark: -1}
	if fd, err := memfd.Create(daemon.ConfinedPrefix+text, memfd.Data); err == nil { // without it check shows less
		c.Mark = fd
	}
	return c
}
