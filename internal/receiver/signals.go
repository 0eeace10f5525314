package receiver

import (
	"golang.org/x/sys/unix"

	"devlog/internal/earlysignal"
	"devlog/internal/eventloop"
	"devlog/internal/pidfd"
	"devlog/internal/syslog"
)

// catchSignals begins to handle signals.
func (r *receiver) catchSignals() (err error) {
	if r.signals, err = eventloop.NewSignals(earlysignal.Take(), earlysignal.Caught...); err != nil {
		return err
	}
	return r.loop.Handle(r.signals, func(s unix.Signal) {
		if r.onSignal(s) {
			r.loop.Stop()
		}
		r.loop.Soon(r.round)
	})
}

// wakeUp wakes the loop up. Any goroutine may call it.
func (r *receiver) wakeUp() { r.signals.Wake() }

// onSignal handles a signal and reports whether to end.
func (r *receiver) onSignal(s unix.Signal) (end bool) {
	switch s {
	case 0: // to wake up
	case unix.SIGHUP:
		r.hangUp()
	case unix.SIGUSR1:
		r.account()
	case unix.SIGUSR2:
		r.startUpgrade()
	case unix.SIGTERM:
		return !r.awaitContainer()
	default:
		return true
	}
	return false
}

// awaitContainer handles SIGTERM, and reports whether the receiver goes on because
// its container still lives. At a host's shutdown, and when systemd stops the cgroup
// that the receiver was started in, that signal comes with the container's own or
// before it: the container's last messages are yet to come.
func (r *receiver) awaitContainer() bool {
	if r.inside || r.init < 0 || pidfd.Ended(r.init) {
		return false
	}
	if !r.awaits {
		r.awaits = true
		r.say(syslog.Notice, "received SIGTERM: devlogd keeps running until its container ends; to end it now, run: kill -INT "+string(r.router.PID))
	}
	return true
}
