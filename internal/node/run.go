package node

import (
	"cmp"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"devlog/internal/batch"
	"devlog/internal/earlysignal"
	"devlog/internal/eventloop"
	"devlog/internal/handover"
	"devlog/internal/notify"
	"devlog/internal/process"
	"devlog/internal/reader"
	"devlog/internal/receiver"
	"devlog/internal/safepath"
	"devlog/internal/sandbox"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// Options are the program's part.
type Options struct {
	Version string
	// Mode and User are for the reader.
	Mode  sandbox.Mode
	User  *sandbox.User
	Parse func(args []string) (receiver.Config, error)
	Calm  func() // is called after the start
}

// Run is the process that hooks call. files are the service manager's.
func Run(o Options, files []handover.File) error {
	var signals *eventloop.Signals
	p, err := process.New(o.Version, batch.New(), func() {}, func() { signals.Wake() })
	if err != nil {
		return err
	}
	defer p.Loop.Close()
	if signals, err = eventloop.NewSignals(earlysignal.Take(), earlysignal.Caught...); err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	// The reader's sandbox needs it.
	if err := safepath.MakeDirectory(syslogconf.LogsDir, "", os.Geteuid(), os.Getegid()); err != nil {
		return err
	}
	args := []string{"--node-reader", "--sandbox", string(cmp.Or(o.Mode, sandbox.Auto))}
	user := readerUser(o.User)
	if user.UID != os.Geteuid() {
		args = append(args, "--user", fmt.Sprintf("%d:%d", user.UID, user.GID))
	}
	n, err := New(Config{Process: p, Program: program, ReaderArgs: args, User: user, Parse: o.Parse, Log: reader.Log}, files)
	if err != nil {
		return err
	}
	if err := p.Loop.Handle(signals, n.onSignal); err != nil {
		return err
	}
	if err := notify.Send("READY=1"); err != nil {
		return err
	}
	o.Calm()
	err = p.Loop.Run()
	n.Leave()
	return err
}

func (n *Node) onSignal(s unix.Signal) {
	switch s {
	case 0: // to wake the loop
	case unix.SIGHUP:
		n.Reload()
	case unix.SIGUSR1:
		n.Account()
	case unix.SIGUSR2:
		n.Log(syslog.Warning, "cannot upgrade in place; hint: restart this service, its sockets stay open")
	default:
		n.Process.Loop.Stop()
	}
}
