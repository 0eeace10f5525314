package devlog

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
	"devlog/internal/rootfs"
	"devlog/internal/syslogconf"
)

// NoReceiver as a receiver's path means that none is to be started: a syslog
// daemon of the container's own listens on the private socket.
const NoReceiver = "none"

// receiverName is the receiver's file name.
const receiverName = "devlogd"

// readyTimeout is how long a receiver may take to be ready, on a machine where
// hundreds of containers start at once.
const readyTimeout = 20 * time.Second

// Receiver says which receiver is to be started and with what.
type Receiver struct {
	// Path is the program; empty means devlogd beside this program.
	Path string
	// Name is the container's name.
	Name string
	// Config and Rules are what devlogd's options of that name take.
	Config string
	Rules  []string
	// InitStarting says that the container's init has yet to be executed.
	InitStarting bool
}

// MessagesFile is where a receiver of that container writes messages if
// nothing says otherwise: in the container's own root, or on the host.
func MessagesFile(inside bool, name string) string {
	if inside {
		return syslogconf.DefaultMessages
	}
	return path.Join("/var/log/devlog", name, "messages")
}

// prepare finds everything wrong with the receiver that can be known before
// anything is changed.
func (r *Receiver) prepare(t *Target, p Plan) error {
	starts := false
	for _, s := range p.Steps {
		starts = starts || s.Op == OpStart
	}
	if !starts {
		return nil
	}
	if r.Path == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find the receiver: %w", err)
		}
		r.Path = filepath.Join(filepath.Dir(self), receiverName)
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
	messages := MessagesFile(t.inside, r.Name)
	if _, err := syslogconf.Load(r.Config, r.Rules, messages); err != nil {
		return err
	}
	if r.Config == "" && len(r.Rules) == 0 {
		// Said in full, so that the receiver does what was checked here.
		if _, err := os.Stat(syslogconf.DefaultConfig); err == nil {
			r.Config = syslogconf.DefaultConfig
		} else {
			r.Rules = syslogconf.Default(messages)
		}
	}
	return nil
}

// start starts the receiver for the target's socket.
func (r *Receiver) start(t *Target, l *listening) (*os.Process, error) {
	args := []string{"--name", r.Name}
	if r.Config != "" {
		args = append(args, "--config", r.Config)
	}
	for _, rule := range r.Rules {
		args = append(args, "--rule", rule)
	}
	if t.inside {
		args = append(args, "--exit-when-alone")
		if r.InitStarting {
			args = append(args, "--await-init")
		}
	}
	files := []daemon.Passed{{File: l.socket, Name: daemon.NameSocket}}
	if t.init != nil {
		files = append(files, daemon.Passed{File: t.init, Name: daemon.NameInit})
	}
	files = append(files, cleanup(l)...)
	pid, err := daemon.Start(daemon.Spec{
		Path: r.Path,
		// Whoever is root in the container can open /proc/PID/exe there.
		Sealed:  t.inside,
		Args:    args,
		Env:     receiverEnv(),
		Files:   files,
		Timeout: readyTimeout,
	})
	var said *daemon.StartError
	if errors.As(err, &said) {
		return nil, fmt.Errorf("the receiver cannot start: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return os.FindProcess(pid)
}

// cleanup is what the receiver is to remove when it ends, by handles: it may
// end after the container's root has gone from every mount namespace.
func cleanup(l *listening) []daemon.Passed {
	var files []daemon.Passed
	pass := func(d *rootfs.Dir, kind, name string) {
		if !strings.Contains(name, ":") { // it separates the names that are passed
			files = append(files, daemon.Passed{File: d.File(), Name: kind + name})
		}
	}
	pass(l.dir, daemon.NameUnlink, l.name)
	for _, m := range slices.Backward(l.made) {
		pass(m.Parent, daemon.NameRmdir, m.Name)
	}
	return files
}

// receiverEnv is the whole environment of a receiver: the container's own, or
// a runtime's, is not for it to obey.
func receiverEnv() []string {
	if tz, ok := os.LookupEnv("TZ"); ok {
		return []string{"TZ=" + tz}
	}
	return nil
}
