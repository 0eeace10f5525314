// Package launch owns the start of a receiver: its program, arguments and open files,
// where it writes, and who supervises it.
package launch

import (
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
	"devlog/internal/names"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
	"devlog/internal/syslogconf"
	"devlog/internal/target"
)

// NoReceiver as a receiver's path means that none is to be started: a syslog
// daemon of the container's own listens on the private socket.
const NoReceiver = "none"

// readyTimeout is how long a receiver may take to be ready, on a machine where
// hundreds of containers start at once.
const readyTimeout = 20 * time.Second

// Receiver says which receiver is to be started and with what.
type Receiver struct {
	// Path is the program; empty means devlogd beside this program.
	Path string
	// Name is the container's name.
	Name string
	// HostName is what the container calls its host, if a runtime said so; empty
	// stands for what its UTS namespace says.
	HostName string
	// LineHost is the host in each line; empty stands for Name.
	LineHost string
	// Config and Rules are what devlogd's options of that name take.
	Config string
	Rules  []string
	Limits Limits
	// Supervise says who starts the receiver anew when it was killed; empty
	// stands for nobody.
	Supervise Supervisor
	// Sandbox and User are devlogd's options of that name; empty leaves them out.
	Sandbox, User string
	// Notices are what the receiver is to say at its start.
	Notices []string
	// Handover is a connected socket to a receiver that runs already and takes
	// the private socket over; nil to start one.
	Handover *os.File
	// InitStarting says that the container's init has yet to be executed.
	InitStarting bool
	// Warn is told, in a sentence, what its user should know of a receiver that
	// has been started; nil for nobody.
	Warn func(text string)
	// logs is the directory on the host for the logs of containers, once the
	// receiver is prepared.
	logs string
}

// Limits are the options of devlogd with these names; zero values leave them out.
type Limits struct {
	Rate            syslogconf.Rate
	Overflow        syslogconf.Overflow
	CompressRepeats bool
	MetricsFile     string
}

// MessagesFile is where a receiver of that container writes messages if
// nothing says otherwise: in the container's own root, or on the host. There it
// is a file of the user's who may not write to the system's directory of logs.
func MessagesFile(inside bool, name string) string {
	if inside {
		return syslogconf.DefaultMessages
	}
	dir, _ := hostLogs(name)
	return path.Join(dir, name, "messages")
}

// Messages says where the receiver of the target writes all messages, if rules
// do not say otherwise; empty if they do.
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

// Prepare finds everything wrong with the receiver that can be known before
// anything is changed.
func (r *Receiver) Prepare(t *target.Target) error {
	if r.Handover != nil {
		return nil
	}
	if err := r.Supervise.may(t); err != nil {
		return err
	}
	if r.Path == "" || r.Path == NoReceiver {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find the receiver: %w", err)
		}
		r.Path = filepath.Join(filepath.Dir(self), names.Receiver)
	}
	if err := unix.Access(r.Path, unix.X_OK); err != nil {
		return fmt.Errorf("find the receiver %s: %w; install devlogd there or name it with --receiver", r.Path, err)
	}
	if r.Config != "" { // the receiver's working directory is another
		abs, err := filepath.Abs(r.Config)
		if err != nil {
			return fmt.Errorf("find the configuration %s: %w", r.Config, err)
		}
		r.Config = abs
	}
	if r.Limits.MetricsFile != "" {
		abs, err := filepath.Abs(r.Limits.MetricsFile)
		if err != nil {
			return fmt.Errorf("find the metrics file %s: %w", r.Limits.MetricsFile, err)
		}
		r.Limits.MetricsFile = abs
	}
	if t.Entered {
		return r.readRules()
	}
	messages, why := syslogconf.DefaultMessages, (*plan.Refusal)(nil)
	if !t.ReceiverInside() {
		r.logs, why = hostLogs(r.Name)
		messages = path.Join(r.logs, r.Name, "messages")
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

// makeLogs makes the directory for the container's logs where it is a user's own,
// if messages are to go there.
func (r *Receiver) makeLogs() error {
	there := func(rule string) bool { return strings.Contains(rule, r.logs) }
	if r.logs == "" || r.logs == syslogconf.LogsDir || !slices.ContainsFunc(r.Rules, there) {
		return nil // the receiver makes directories, for everybody to read
	}
	if err := os.MkdirAll(path.Join(r.logs, r.Name), 0o700); err != nil {
		return fmt.Errorf("make the directory for messages: %w", err)
	}
	return nil
}

// mayWrite says why the receiver could not make its file on the host: whoever
// runs containers without root may write there rarely.
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

// readRules reads the host's file of rules for a receiver that will not see it.
// Without rules the receiver reads the container's, in there.
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
		if rule.Kind == syslogconf.ContainerStdout { // of a process with more rights than it has
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
	// Repair is the command that makes the same repair again; nil if nobody is to
	// run it.
	Repair []string
	// Needs is what that command needs in the receiver's sandbox (devlogd's
	// --command-needs).
	Needs string
}

// Start starts the receiver, or hands the socket over to the one that runs; then it
// returns 0. The function it returns ends the receiver.
func (r *Receiver) Start(j Job) (pid int, end func(), err error) {
	if r.Handover != nil {
		return 0, nil, handover.SendFiles(int(r.Handover.Fd()), j.Files)
	}
	t := j.Target
	spec := daemon.Spec{
		Path: r.Path,
		// Whoever is root in the container can open /proc/PID/exe there.
		Sealed: t.ReceiverInside() && !t.Host,
		// There it would have all rights of the runtime.
		Confined: t.Entered,
		Args:     r.args(j),
		Env:      receiverEnv(),
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
		pid, end, err = r.startAs(t, spec)
		return err
	})
	var said *daemon.StartError
	if errors.As(err, &said) {
		return 0, nil, fmt.Errorf("the receiver cannot start: %w", err)
	}
	return pid, end, err
}

// args are devlogd's arguments.
func (r *Receiver) args(j Job) []string {
	args := append([]string{"--name", r.Name}, hostNameArgs(j.Target, r.HostName)...)
	if r.LineHost != "" {
		args = append(args, "--line-host", r.LineHost)
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

// receiverEnv is the whole environment of a receiver: the container's own, or
// a runtime's, is not for it to obey.
func receiverEnv() []string {
	// Go's runtime would prepare for all of the machine's processors, in 0.2 MB.
	env := []string{"GOMAXPROCS=1"}
	if tz, ok := os.LookupEnv("TZ"); ok {
		env = append(env, "TZ="+tz)
	}
	return env
}
