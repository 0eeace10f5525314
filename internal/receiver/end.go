package receiver

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/cleanup"
	"devlog/internal/output"
	"devlog/internal/router"
	"devlog/internal/syslog"
)

// flushTime is how long an ending receiver tries to write what is pending.
const flushTime = 5 * time.Second

// Flush writes the received messages.
func (r *Receiver) Flush(now time.Time) {
	r.router.Flush(now)
	r.sayProblems(now)
	r.config.Owner.Written()
	r.process.Memory.Release()
}

// Settle is Flush where nothing is half done: if a file hangs, another goroutine runs the loop.
func (r *Receiver) Settle(now time.Time) {
	r.process.Watchdog.Top(true)
	r.Flush(now)
	r.process.Watchdog.Top(false)
}

// Fail ends the receiver like End, and logs the error: standard error may lead nowhere.
func (r *Receiver) Fail(err error) error {
	r.Say(syslog.Err, "ends: "+err.Error())
	return errors.Join(err, r.End())
}

// End stops the senders and reads what is queued. Call Rest afterwards.
func (r *Receiver) End() error {
	if r.watcher != nil {
		r.watcher.Stop()
	}
	err := r.intake.Drain()
	r.readKernel(lastRecords)
	r.router.SumUp()
	r.ending = time.Now()
	return err
}

// HangUp reads what stream connections have sent, and closes them.
func (r *Receiver) HangUp() { r.intake.HangUp() }

// Rest writes what is left after End, and returns when to call it again; zero when to close it.
func (r *Receiver) Rest(now time.Time) time.Time {
	r.Flush(now)
	next := r.router.PendingUntil(r.ending, now)
	if next.After(r.ending.Add(flushTime)) {
		return time.Time{}
	}
	return next
}

// Close closes the outputs, removes the receiver's names, and closes its files.
func (r *Receiver) Close() {
	for _, route := range r.router.Routes {
		r.sayLost(router.Close(route.Out))
	}
	r.finishMetrics()
	for _, s := range r.sockets {
		s.Unlink()
		if !slices.Contains(r.intake.Sockets(), s.Socket) { // it was never read from
			_ = unix.Close(s.FD)
		}
	}
	r.intake.Close()
	r.closeKernel()
	cleanup.Remove(r.cleanups, &r.identity)
	if r.watcher != nil {
		r.watcher.Close()
	}
	r.holdings.close(r.process.Loop)
	r.timer.Set(time.Time{})
	r.closed = true
}

// sayLost reports what is lost at the end, if anything. No output can report it any more.
func (r *Receiver) sayLost(text string) {
	if text == "" {
		return
	}
	r.tellKernel(text)
	// Standard error is the last resort. Do not wait for a reader.
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(r.process.Stderr), Events: unix.POLLOUT}}, 0); err == nil && n > 0 {
		_, _ = unix.Write(r.process.Stderr, []byte("devlogd: "+text+"\n"))
	}
}

// tellKernel writes the text to the kernel's log, and returns whether that worked.
func (r *Receiver) tellKernel(text string) bool {
	k, err := r.process.KernelLog(string(r.router.Host))
	if err != nil {
		return false
	}
	k.Add(output.Message{Priority: syslog.MakePriority(syslog.Syslog, syslog.Warning), Body: []byte("devlogd: " + syslog.Escape(text))})
	k.Close()
	return true
}
