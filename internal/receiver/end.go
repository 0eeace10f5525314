package receiver

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/output"
	"devlog/internal/sink"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// flush writes what was received.
func (r *receiver) flush(now time.Time) {
	for _, route := range r.routes {
		route.out.Flush(now)
	}
	r.sayProblems(now)
	if r.store != nil {
		r.store.written(r)
	}
	if r.batch != nil {
		r.batch.release()
	}
	r.lines.release()
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
	var errs []error
	if r.watcher != nil {
		r.watcher.Stop()
	}
	for _, s := range r.sockets {
		if err := r.drainSocket(s); err != nil {
			errs = append(errs, err)
		}
	}
	r.drainConnections()
	if r.kernel != nil && r.kernel.fd >= 0 {
		r.readKernel(lastRecords)
	}
	r.sayDropped()
	r.sumUp()
	for begin, end := time.Now(), time.Now().Add(flushTime); ; {
		now := time.Now()
		r.flush(now)
		next := r.pendingUntil(begin, now)
		if next.IsZero() || next.After(end) {
			break
		}
		time.Sleep(next.Sub(now))
	}
	return errors.Join(errs...)
}

// drainSocket stops a socket's senders and reads what is queued already.
func (r *receiver) drainSocket(s *socket) error {
	// From here on a send fails (EPIPE) and nothing is added to the queue.
	if err := unix.Shutdown(s.fd, unix.SHUT_RD); err != nil {
		return fmt.Errorf("shut down a socket: %w", err)
	}
	if s.stream {
		r.accept(s, -1)
		return nil
	}
	return r.receive(s.fd, -1)
}

// pendingUntil is when the next attempt is to be made to write what is
// pending; the zero time when nothing is, or only for readers that had their
// time since the begin of the end.
func (r *receiver) pendingUntil(begin, now time.Time) (next time.Time) {
	for _, route := range r.routes {
		t := route.out.Next()
		if stream, ok := behind(route.out).(*sink.Stream); ok {
			if !stream.Waits() || now.Sub(begin) >= readerTime {
				continue
			}
			t = now.Add(readerPoll)
		}
		if route.out.Counts().Pending > 0 && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

// close ends the outputs and removes the names that are ours to remove.
func (r *receiver) close() {
	for _, route := range r.routes {
		r.closeOutput(route.out)
	}
	r.metrics.finish(r)
	for _, s := range r.sockets {
		s.unlink()
		_ = unix.Close(s.fd) // nothing more can be done about these
	}
	r.removeCleanups()
	if r.watcher != nil {
		r.watcher.Close()
	}
	if r.epoll >= 0 {
		_ = unix.Close(r.epoll)
	}
}

// closeOutput closes an output, and says what is lost that it can tell of no
// more: what was pending, what nobody has read, and what it was to tell of.
func (r *receiver) closeOutput(out output.Output) {
	before := out.Counts()
	before.Lost = slices.Clone(before.Lost) // they are counted further there
	out.Close()
	after := out.Counts()
	n, why := before.Untold, ""
	for i, l := range after.Lost {
		if i < len(before.Lost) {
			l.N -= before.Lost[i].N
		}
		if n += l.N; l.N > 0 || why == "" {
			why = l.Reason
		}
	}
	if n == 0 {
		return
	}
	text := fmt.Sprintf("%d messages lost at the end: %s: %s", n, out.Name(), why)
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
	k, err := toKernel(string(r.host))
	if err != nil {
		return false
	}
	k.Add(output.Message{Priority: syslog.MakePriority(syslog.Syslog, syslog.Warning), Body: []byte("devlogd: " + syslog.Escape(text))})
	k.Close()
	return true
}

// toKernel is replaced in a test, which is not to write to the machine's log.
var toKernel = func(name string) (output.Output, error) { return sink.OpenKernel(syslogconf.KernelLog, name) }
