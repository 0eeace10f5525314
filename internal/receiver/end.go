package receiver

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/output"
	"devlog/internal/router"
	"devlog/internal/sink"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// Flush writes what was received.
func (r *receiver) Flush(now time.Time) {
	r.router.Flush(now)
	r.sayProblems(now)
	if r.store != nil {
		r.store.written(r)
	}
	if r.memory != nil {
		r.memory.Release()
	}
}

// fail ends the receiver because of the error, and says so where the messages
// are: nobody may see its standard error.
func (r *receiver) fail(err error) error {
	r.say(syslog.Err, "ends: "+err.Error())
	return errors.Join(err, r.drain())
}

// drain stops the senders, reads what is queued already and writes it, for a
// bounded time.
func (r *receiver) drain() error {
	if r.watcher != nil {
		r.watcher.Stop()
	}
	err := r.intake.Drain()
	if r.kernel != nil && r.kernel.fd >= 0 {
		r.readKernel(lastRecords)
	}
	r.router.SumUp()
	for begin, end := time.Now(), time.Now().Add(flushTime); ; {
		now := time.Now()
		r.Flush(now)
		next := r.router.PendingUntil(begin, now)
		if next.IsZero() || next.After(end) {
			break
		}
		time.Sleep(next.Sub(now))
	}
	return err
}

// close ends the outputs and removes the names that are ours to remove.
func (r *receiver) close() {
	for _, route := range r.router.Routes {
		r.sayLost(router.Close(route.Out))
	}
	r.metrics.finish(r)
	for _, s := range r.sockets {
		s.Unlink()
	}
	if r.intake != nil {
		r.intake.Close()
	}
	r.removeCleanups()
	if r.watcher != nil {
		r.watcher.Close()
	}
	if r.loop != nil {
		r.loop.Close()
	}
}

// sayLost says what is lost at the end, unless that is empty: there is no output to say it.
func (r *receiver) sayLost(text string) {
	if text == "" {
		return
	}
	r.tellKernel(text)
	// There is nobody else to tell. A reader who does not read is not waited for.
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(stderr), Events: unix.POLLOUT}}, 0); err == nil && n > 0 {
		_, _ = unix.Write(stderr, []byte("devlogd: "+text+"\n"))
	}
}

// stderr is standard error; a test has another one.
var stderr = 2

// tellKernel says in the kernel's log what can be said nowhere else, and reports
// whether it could be.
func (r *receiver) tellKernel(text string) bool {
	k, err := toKernel(string(r.router.Host))
	if err != nil {
		return false
	}
	k.Add(output.Message{Priority: syslog.MakePriority(syslog.Syslog, syslog.Warning), Body: []byte("devlogd: " + syslog.Escape(text))})
	k.Close()
	return true
}

// toKernel is replaced in a test, which is not to write to the machine's log.
var toKernel = func(name string) (output.Output, error) { return sink.OpenKernel(syslogconf.KernelLog, name) }
