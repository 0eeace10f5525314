package receiver

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/output"
	"devlog/internal/router"
	"devlog/internal/syslog"
)

// flushTime is how long an ending receiver tries to write what is pending.
const flushTime = 5 * time.Second

// Flush writes what was received.
func (r *Receiver) Flush(now time.Time) {
	r.router.Flush(now)
	r.sayProblems(now)
	r.config.Owner.Written()
	r.process.Memory.Release()
}

// Fail ends the receiver because of the error like End, and says so where the messages are:
// nobody may see the program's standard error.
func (r *Receiver) Fail(err error) error {
	r.Say(syslog.Err, "ends: "+err.Error())
	return errors.Join(err, r.End())
}

// End stops the senders and reads what is queued already. Rest is to be called then.
func (r *Receiver) End() error {
	if r.watcher != nil {
		r.watcher.Stop()
	}
	err := r.intake.Drain()
	if r.kernel != nil && r.kernel.fd >= 0 {
		r.readKernel(lastRecords)
	}
	r.router.SumUp()
	r.ending = time.Now()
	return err
}

// Rest writes what is left after End, and returns when it is to be called again. The zero
// time says that it is not: the receiver can be closed.
func (r *Receiver) Rest(now time.Time) time.Time {
	r.Flush(now)
	next := r.router.PendingUntil(r.ending, now)
	if next.After(r.ending.Add(flushTime)) {
		return time.Time{}
	}
	return next
}

// Close ends the outputs, removes the names that are the receiver's to remove, and closes
// what it was given.
func (r *Receiver) Close() {
	for _, route := range r.router.Routes {
		r.sayLost(router.Close(route.Out))
	}
	r.finishMetrics()
	for _, s := range r.sockets {
		s.Unlink()
	}
	r.intake.Close()
	if r.kernel != nil {
		r.kernel.close(r.process.Loop)
	}
	r.removeCleanups()
	if r.watcher != nil {
		r.watcher.Close()
	}
	r.holdings.close(r.process.Loop)
	r.timer.Set(time.Time{})
	r.closed = true
}

// sayLost says what is lost at the end, unless that is empty: there is no output to say it.
func (r *Receiver) sayLost(text string) {
	if text == "" {
		return
	}
	r.tellKernel(text)
	// There is nobody else to tell. A reader who does not read is not waited for.
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(r.process.Stderr), Events: unix.POLLOUT}}, 0); err == nil && n > 0 {
		_, _ = unix.Write(r.process.Stderr, []byte("devlogd: "+text+"\n"))
	}
}

// tellKernel says in the kernel's log what can be said nowhere else, and reports
// whether it could be.
func (r *Receiver) tellKernel(text string) bool {
	k, err := r.process.KernelLog(string(r.router.Host))
	if err != nil {
		return false
	}
	k.Add(output.Message{Priority: syslog.MakePriority(syslog.Syslog, syslog.Warning), Body: []byte("devlogd: " + syslog.Escape(text))})
	k.Close()
	return true
}
