// Package launch owns the start of a receiver: its program, arguments and open files,
// and where it writes.
package launch

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/daemon"
	"devlog/internal/handover"
	"devlog/internal/hook"
	"devlog/internal/names"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
	"devlog/internal/target"
)

// NoReceiver as a receiver's path means that none is started: the container's own syslog
// daemon listens on the private socket.
const NoReceiver = "none"

// readyTimeout is how long a receiver may take to become ready, on a machine where hundreds
// of containers start at the same time.
const readyTimeout = 20 * time.Second

// Receiver says which receiver to start, and how.
type Receiver struct {
	// Path is the program; empty means devlogd beside this program.
	Path string
	Names
	// Config and Rules are devlogd's options.
	Config string
	Rules  []string
	Limits Limits
	// Sandbox and User are devlogd's options; empty for their defaults.
	Sandbox, User string
	// Notices are messages that the receiver logs at its start.
	Notices []string
	// Handover is a connected socket to a running receiver, which takes over the private
	// socket; nil to start one.
	Handover *os.File
	// Unbound is a socket without a name that the running receiver has passed: it is
	// confined, and is told names only. nil if it is not.
	Unbound *os.File
	// InitStarting says that the container's init has not been executed yet.
	InitStarting bool
	// Warn is called with a sentence for the user; may be nil. See Say.
	Warn func(text string)
	// logs is the directory on the host for containers' logs; Prepare sets it.
	logs string
	node nodeUse
}

// Say tells the user, and the container's log if the receiver is not started yet.
func (r *Receiver) Say(text string) {
	r.Notices = append(slices.Clone(r.Notices), syslog.Escape(text))
	if r.Warn != nil {
		r.Warn(text)
	}
}

// Names are what the container is called.
type Names struct {
	// Name is the container's name.
	Name string
	// HostName is the container's host name from the runtime; empty for the one in its UTS
	// namespace.
	HostName string
	// LineHost is the host in each line; empty stands for Name.
	LineHost string
	// ByName is the name that people know, by which its log is found too, and which the
	// host's journal has; empty for the one that its engine knows.
	ByName string
}

// Limits are devlogd's options with these names. Zero values are the defaults.
type Limits struct {
	Rate            syslogconf.Rate
	Overflow        syslogconf.Overflow
	CompressRepeats bool
	MetricsFile     string
}

// MessagesFile returns the file to which the container's receiver writes by default: in the
// container's root, or on the host. There, a user who may not write to the system's logs has
// an own directory.
func MessagesFile(inside bool, name string) string {
	if inside {
		return syslogconf.DefaultMessages
	}
	dir, _ := hostLogs(name)
	return path.Join(dir, name, "messages")
}

// Messages describes where the target's receiver writes all messages; empty if there are
// rules.
func (r *Receiver) Messages(t *target.Target) string {
	if r.Config != "" || len(r.Rules) > 0 {
		return ""
	}
	if syslogconf.Configured() {
		return "where " + syslogconf.DefaultConfig + " says"
	}
	file := MessagesFile(t.ReceiverInside(), r.Name)
	if !t.ReceiverInside() {
		file += " on the host"
	}
	return file
}

// Prepare completes the description of the receiver for the target. It finds every error
// that can be found before anything is changed, so it is called first.
func (r *Receiver) Prepare(t *target.Target) error {
	if r.Handover != nil {
		return nil
	}
	r.chooseNode(t)
	if r.Path == "" || r.Path == NoReceiver {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("cannot find the receiver: %w", err)
		}
		r.Path = filepath.Join(filepath.Dir(self), names.Receiver)
	}
	if err := unix.Access(r.Path, unix.X_OK); err != nil {
		return fmt.Errorf("cannot find the receiver %s: %w; hint: install devlogd there or name it with --receiver", r.Path, err)
	}
	if r.Config != "" { // the receiver has another working directory
		abs, err := filepath.Abs(r.Config)
		if err != nil {
			return fmt.Errorf("cannot find the configuration %s: %w", r.Config, err)
		}
		r.Config = abs
	}
	if r.Limits.MetricsFile != "" {
		abs, err := filepath.Abs(r.Limits.MetricsFile)
		if err != nil {
			return fmt.Errorf("cannot find the metrics file %s: %w", r.Limits.MetricsFile, err)
		}
		r.Limits.MetricsFile = abs
	}
	if t.Entered {
		if err := r.mustNode(); err != nil {
			return err
		}
		return r.readRules()
	}
	messages, why := syslogconf.DefaultMessages, (*plan.Refusal)(nil)
	if !t.ReceiverInside() {
		r.logs, why = hostLogs(r.Name)
		messages = path.Join(r.logs, r.Name, "messages")
	}
	if err := r.mustNode(); err != nil {
		return err
	}
	config, rules, isDefault, err := syslogconf.InFull(r.Config, r.Rules, messages)
	if err != nil {
		return err
	}
	r.Config, r.Rules = config, rules
	if isDefault && why != nil {
		return why
	}
	return r.makeLogs()
}

// makeLogs creates the directory for the container's logs if it is a user's own and the
// rules use it.
func (r *Receiver) makeLogs() error {
	there := func(rule string) bool { return strings.Contains(rule, r.logs) }
	if r.logs == "" || r.logs == syslogconf.LogsDir || !slices.ContainsFunc(r.Rules, there) {
		return nil // the receiver creates directories that everybody can read
	}
	if err := os.MkdirAll(path.Join(r.logs, r.Name), 0o700); err != nil {
		return fmt.Errorf("cannot create the directory for messages: %w", err)
	}
	return nil
}

// mayWrite returns a refusal if the receiver could not create its file on the host, as is
// usual with rootless containers.
func mayWrite(file string) *plan.Refusal {
	for at := file; at != "/"; at = path.Dir(at) {
		switch err := unix.Faccessat(unix.AT_FDCWD, at, unix.W_OK, unix.AT_EACCESS); {
		case errors.Is(err, unix.EACCES), errors.Is(err, unix.EROFS):
			return &plan.Refusal{Reason: fmt.Sprintf("the receiver on the host may not write to %s (%s: %v)", file, at, err),
				Advice: "name another file with --rule, or have an OCI hook run at --stage createContainer"}
		case err == nil:
			return nil
		}
	}
	return nil
}

// readRules reads the host's file of rules for a receiver that will not see it. Without
// rules, the receiver reads the container's file.
func (r *Receiver) readRules() error {
	if r.Config == "" && len(r.Rules) == 0 {
		return nil
	}
	rules, err := syslogconf.Load(r.Config, r.Rules, "")
	if err != nil {
		return err
	}
	r.Config, r.Rules = "", nil
	for _, rule := range rules {
		if rule.Kind == syslogconf.ContainerStdout { // it belongs to a process with more privileges
			return &plan.Refusal{Reason: "the receiver may not write to the container's standard output at createContainer",
				Advice: "use --stage createRuntime"}
		}
		r.Rules = append(r.Rules, rule.String())
	}
	return nil
}

// Job is what a receiver is started for.
type Job struct {
	Target *target.Target
	// Files are the socket, and handles on what the receiver removes when it ends.
	Files []handover.Passed
	// Repair is the command that repairs again; nil without a watcher.
	Repair []string
	// Needs says which privileges that command needs in the receiver's sandbox (devlogd's
	// --command-needs).
	Needs string
	// PrivateDev says that /dev is the container's own.
	PrivateDev bool
	// Again describes this repair to a service that may have to repeat it; nil for none.
	Again []byte
}

// Start starts the receiver and returns its process ID, and a function that ends it. If a
// running receiver takes over the socket, the process ID is 0.
func (r *Receiver) Start(j Job) (pid int, end func(), err error) {
	if r.Handover != nil {
		send := handover.SendFiles
		if r.Unbound != nil {
			send = handover.SendNames
		}
		return 0, nil, send(int(r.Handover.Fd()), j.Files)
	}
	t := j.Target
	spec := daemon.Spec{
		Path: r.Path,
		// Root in the container can open its /proc/PID/exe.
		Sealed: t.ReceiverInside() && !t.Host,
		// Otherwise it would have all the runtime's privileges.
		Confined: t.Entered,
		Env:      daemon.Env("TZ"),
		Files:    j.Files,
		Timeout:  readyTimeout,
	}
	if t.Init != nil {
		spec.Files = append(spec.Files, handover.Passed{File: t.Init, Name: handover.NameInit})
	}
	if t.Entered {
		spec.Files = append(spec.Files, handover.Passed{File: t.Root.File(), Name: handover.NameChroot})
	}
	if j.Repair != nil {
		spec.Files = append(spec.Files, handover.Passed{File: t.Root.File(), Name: handover.NameRoot})
	}
	err = rootfs.AsSelf(func() (err error) {
		called := r.called(t)
		spec.Args = r.args(j, called)
		link, err := r.linkByName(t, called)
		if err != nil && r.Warn != nil {
			r.Warn(err.Error()) // the log is there all the same
		}
		if link != nil {
			spec.Files = append(spec.Files, link.passed())
			defer link.close()
		}
		if r.node.may {
			if pid, end, err = r.startAtNode(spec, j.Again); err == nil || r.node.must {
				return err
			}
			r.sayOwn(err)
		}
		if pid, err = daemon.Start(spec); err == nil {
			end = func() { _, _ = daemon.End(pid) } // the caller reports another error
			r.warn(t)
		}
		return err
	})
	var said *daemon.StartError
	if errors.As(err, &said) {
		return 0, nil, fmt.Errorf("the receiver cannot start: %w", err)
	}
	return pid, end, err
}

// args are devlogd's arguments. called is the name that people know the container by.
func (r *Receiver) args(j Job, called string) []string {
	args := append([]string{"--name", r.Name}, hostNameArgs(j.Target, r.HostName)...)
	if r.LineHost != "" {
		args = append(args, "--line-host", r.LineHost)
	}
	if called != cmp.Or(r.LineHost, r.Name) && hook.CheckName(called) == nil {
		args = append(args, "--container-name", called)
	}
	if r.Config != "" {
		args = append(args, "--config", r.Config)
	}
	for _, rule := range r.Rules {
		args = append(args, "--rule", rule)
	}
	for _, text := range r.Notices {
		args = append(args, "--notice", text)
	}
	if r.logs != "" && r.logs != syslogconf.LogsDir {
		args = append(args, "--logs-dir", r.logs)
	}
	args = append(args, r.Limits.args()...)
	if j.Target.Inside && !j.Target.Host {
		args = append(args, "--exit-when-alone")
		if r.InitStarting {
			args = append(args, "--await-init")
		}
	}
	if r.Sandbox != "" {
		args = append(args, "--sandbox", r.Sandbox)
	}
	if r.User != "" {
		args = append(args, "--user", r.User)
	}
	if j.Repair == nil {
		return args
	}
	if j.Needs != daemon.NeedsMounts {
		args = append(args, "--command-needs", j.Needs)
	}
	if j.PrivateDev {
		args = append(args, "--private-dev")
	}
	return append(append(args, "--"), j.Repair...)
}

// args are devlogd's arguments for the limits.
func (l Limits) args() (args []string) {
	if l.Rate.N > 0 {
		args = append(args, "--rate", l.Rate.String())
	}
	if l.Overflow != "" {
		args = append(args, "--overflow", string(l.Overflow))
	}
	if l.CompressRepeats {
		args = append(args, "--compress-repeats")
	}
	if l.MetricsFile != "" {
		args = append(args, "--metrics-file", l.MetricsFile)
	}
	return args
}
