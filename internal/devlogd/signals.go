package devlogd

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/earlysignal"
	"devlog/internal/eventloop"
	"devlog/internal/pidfd"
	"devlog/internal/syslog"
	"devlog/internal/timezone"
)

// catchSignals begins to handle signals.
func (p *program) catchSignals() (err error) {
	if p.signals, err = eventloop.NewSignals(earlysignal.Take(), earlysignal.Caught...); err != nil {
		return err
	}
	return p.loop.Handle(p.signals, func(s unix.Signal) {
		if p.onSignal(s) {
			p.loop.Stop()
		}
		p.receiver.Soon()
	})
}

// wakeUp wakes the loop up. Any goroutine may call it.
func (p *program) wakeUp() { p.signals.Wake() }

// onSignal handles a signal and reports whether to end.
func (p *program) onSignal(s unix.Signal) (end bool) {
	switch s {
	case 0: // to wake up
	case unix.SIGHUP:
		p.receiver.Reload(timezone.Read())
	case unix.SIGUSR1:
		p.receiver.Account()
	case unix.SIGUSR2:
		p.startUpgrade()
	case unix.SIGTERM:
		return !p.awaitContainer()
	default:
		return true
	}
	return false
}

// awaitContainer handles SIGTERM, and reports whether the receiver goes on because
// its container still lives. At a host's shutdown, and when systemd stops the cgroup
// that the receiver was started in, that signal comes with the container's own or
// before it: the container's last messages are yet to come.
func (p *program) awaitContainer() bool {
	if p.inside || p.receiver.Init() < 0 || pidfd.Ended(p.receiver.Init()) {
		return false
	}
	if !p.awaits {
		p.awaits = true
		p.receiver.Say(syslog.Notice, "received SIGTERM: devlogd keeps running until its container ends; to end it now, run: kill -INT "+strconv.Itoa(os.Getpid()))
	}
	return true
}
