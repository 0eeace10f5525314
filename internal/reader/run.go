package reader

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"devlog/internal/confine"
	"devlog/internal/earlysignal"
	"devlog/internal/eventloop"
	"devlog/internal/handover"
	"devlog/internal/nodecall"
	"devlog/internal/process"
	"devlog/internal/receiver"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
	"devlog/internal/timezone"
)

// NameBatch is the name of the memory that outlives the reader; see Kept. The watcher passes it.
const NameBatch = "node-batch"

// NameKernelLog is the name of the open kernel's log, which comes with an order: the reader's user
// may not open it, and the kernel limits each open log.
const NameKernelLog = "kernel-log"

// Options are the program's part.
type Options struct {
	Version string
	Confine confine.Options
	Parse   func(args []string) (receiver.Config, error)
	Calm    func()       // is called after the start
	Started func() error // reports that the reader is ready
	Exit    func(error)  // ends the program while its main goroutine is stuck
}

// Run is the process.
func Run(o Options, files []handover.File) error {
	at := func(name string) int {
		return slices.IndexFunc(files, func(f handover.File) bool { return f.Name == name })
	}
	conn, batch := at(nodecall.NameOrders), at(NameBatch)
	if conn < 0 || batch < 0 {
		return errors.New("--node-reader is for devlogd --node only")
	}
	kept, err := OpenKept(files[batch].FD)
	if err != nil {
		return err
	}
	var signals *eventloop.Signals
	var loop func() // in another goroutine
	p, err := process.New(o.Version, kept.Memory(), func() { loop() }, func() { signals.Wake() })
	if err != nil {
		return err
	}
	defer p.Loop.Close()
	if signals, err = eventloop.NewSignals(earlysignal.Take(), earlysignal.Caught...); err != nil {
		return err
	}
	// The watcher says when to end. Ignore signals to the whole process group.
	if err := p.Loop.Handle(signals, func(unix.Signal) {}); err != nil {
		return err
	}
	r, err := New(p, files[conn].FD, kept, func(args []string) (receiver.Config, error) {
		c, err := o.Parse(args)
		rules := c.Rules
		c.Rules = func() ([]syslogconf.Rule, error) { return follows(rules()) }
		return c, err
	})
	if err != nil {
		return err
	}
	if err := timezone.Read(); err != nil {
		Log(syslog.Warning, "the time zone is unknown: "+err.Error())
	}
	if err := r.confine(o.Confine); err != nil {
		return err
	}
	loop = func() {
		if err := r.loop(); !errors.Is(err, eventloop.ErrYielded) {
			o.Exit(err)
		}
	}
	if err := o.Started(); err != nil {
		return err
	}
	o.Calm()
	return r.loop()
}

// loop carries out orders until the watcher ends.
func (r *Reader) loop() error {
	err := r.process.Loop.Run()
	if errors.Is(err, eventloop.ErrYielded) {
		return err
	}
	r.Leave()
	return err
}

// confine drops the privileges that the process does not need.
func (r *Reader) confine(o confine.Options) error {
	o.Below = func(path string) string {
		if inLogs(path) {
			return syslogconf.LogsDir
		}
		return ""
	}
	confined, notices, err := confine.Enter(o, receiver.Needs{Root: -1, Dirs: []string{syslogconf.LogsDir}})
	if err != nil {
		return err
	}
	r.process.Confined = func() bool { return confined.Landlock }
	for _, text := range notices {
		Log(syslog.Notice, text)
	}
	return nil
}

// Log writes for the administrator: the service manager has a log of standard error, where a line
// may begin with its severity (sd-daemon(3)).
func Log(severity syslog.Severity, text string) {
	prefix := ""
	if os.Getenv("JOURNAL_STREAM") != "" {
		prefix = fmt.Sprintf("<%d>", severity)
	}
	fmt.Fprintf(os.Stderr, "%sdevlogd: %s\n", prefix, syslog.Escape(text))
}
