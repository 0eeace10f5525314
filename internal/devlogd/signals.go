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

// catchSignals starts handling signals.
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

// wakeUp wakes the loop. Any goroutine may call it.
func (p *program) wakeUp() { p.signals.Wake() }

// onSignal handles a signal and returns whether to end.
func (p *program) onSignal(s unix.Signal) (end bool) {
	switch s {
	case 0: // from wakeUp
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

// awaitContainer handles SIGTERM, and returns whether the receiver continues because its
// container still runs. At shutdown, and when systemd stops the cgroup of the receiver's
// caller, the signal comes together with the container's or before it: the container's last
// messages are still to come.
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
