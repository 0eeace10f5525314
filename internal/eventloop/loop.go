// Package eventloop owns waiting: one goroutine waits with epoll(7) for files, timers and
// signals, and calls their handlers.
package eventloop

import (
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// maxEvents is the most events that one wait returns.
const maxEvents = 64

// Loop waits for events. Only the goroutine that calls Run may use it, except for Wake.
type Loop struct {
	epoll   int
	files   map[int]*polled
	last    int32 // generation of the last file that was added
	timers  timers
	firing  bool
	tasks   []*Task
	next    int // index of the first task that has not run
	waiter  waiter
	yield   func() bool
	now     time.Time
	err     error
	stopped bool
	signals *Signals
}

// polled is a descriptor that the loop waits for.
type polled struct {
	// generation distinguishes it from an earlier file with the same number: epoll(7) reports
	// a closed file as long as another process has it open.
	generation int32
	ready      func()
}

// New returns a loop that waits for nothing yet. The caller must close it.
func New() (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot create an epoll instance: %w", err)
	}
	return &Loop{epoll: epoll, files: map[int]*polled{}, now: time.Now()}, nil
}

// Close closes the epoll instance. The files stay open.
func (l *Loop) Close() {
	if l.signals != nil {
		l.signals.close()
	}
	_ = unix.Close(l.epoll)
}

// Now returns the time of this round's events.
func (l *Loop) Now() time.Time { return l.now }

// Add makes the loop call ready each time fd can be read. Closing fd removes it too.
func (l *Loop) Add(fd int, ready func()) error { return l.Poll(fd, unix.EPOLLIN, ready) }

// Poll makes the loop call ready for these events (epoll_ctl(2)) of fd.
func (l *Loop) Poll(fd int, events uint32, ready func()) error {
	l.last++
	event := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: l.last}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("cannot wait for descriptor %d: %w", fd, err)
	}
	l.files[fd] = &polled{l.last, ready}
	return nil
}

// Change changes the events of fd. If fd is not known, or its number now belongs to another
// file, it calls Poll.
func (l *Loop) Change(fd int, events uint32, ready func()) error {
	err := l.control(unix.EPOLL_CTL_MOD, fd, events)
	if errors.Is(err, unix.ENOENT) {
		err = l.Poll(fd, events, ready)
	}
	return err
}

// Remove stops waiting for fd. Call it before closing fd.
func (l *Loop) Remove(fd int) error {
	delete(l.files, fd)
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, fd, nil); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot stop waiting for descriptor %d: %w", fd, err)
	}
	return nil
}

// Pause stops waiting for fd until Resume. Data waits in the kernel.
func (l *Loop) Pause(fd int) error {
	if l.files[fd] == nil {
		return fmt.Errorf("cannot pause descriptor %d: %w", fd, unix.ENOENT)
	}
	// Remove the descriptor: the kernel reports EPOLLHUP even if no events are asked for
	// (epoll_ctl(2)).
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, fd, nil); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot pause descriptor %d: %w", fd, err)
	}
	return nil
}

// Resume waits for fd again.
func (l *Loop) Resume(fd int) error {
	err := l.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN)
	if errors.Is(err, unix.EEXIST) { // not paused
		return nil
	}
	return err
}

// control changes what the kernel waits for. The file must be known.
func (l *Loop) control(operation, fd int, events uint32) error {
	f := l.files[fd]
	if f == nil {
		return fmt.Errorf("cannot wait for descriptor %d: %w", fd, unix.ENOENT)
	}
	event := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: f.generation}
	if err := unix.EpollCtl(l.epoll, operation, fd, &event); err != nil {
		return fmt.Errorf("cannot wait for descriptor %d: %w", fd, err)
	}
	return nil
}

// Task runs once at the end of a round, however often Soon queued it.
type Task struct {
	run    func()
	queued bool
}

// NewTask returns a task that calls run.
func NewTask(run func()) *Task { return &Task{run: run} }

// Soon queues the task for the end of this round. If it is queued already, that costs nothing.
func (l *Loop) Soon(t *Task) {
	if !t.queued {
		t.queued = true
		l.tasks = append(l.tasks, t)
	}
}

// Stop makes Run return after this round.
func (l *Loop) Stop() { l.stopped = true }

// Fail makes Run return this error after this round.
func (l *Loop) Fail(err error) {
	l.err = errors.Join(l.err, err)
	l.stopped = true
}

// ErrYielded means that another goroutine now runs the loop.
var ErrYielded = errors.New("another goroutine runs the loop")

// Run waits for events and handles them until Stop or an error. While a task hangs, another
// goroutine may call Run, which continues with the next task. Run returns ErrYielded if yield
// (SetYield) says so.
func (l *Loop) Run() error {
	for {
		if l.yield != nil && l.yield() {
			return ErrYielded
		}
		l.runTasks()
		if l.stopped {
			return l.result()
		}
		l.round(l.timeout(time.Now()))
	}
}

// RunOnce handles what is ready now. It does not wait.
func (l *Loop) RunOnce() error {
	l.round(0)
	l.runTasks()
	return l.result()
}

func (l *Loop) result() error {
	err := l.err
	l.stopped, l.err = false, nil
	return err
}

// SetYield makes Run call yield before each round.
func (l *Loop) SetYield(yield func() bool) { l.yield = yield }

// round waits for at most timeout milliseconds (-1: without limit) and handles the events.
func (l *Loop) round(timeout int) {
	var events [maxEvents]unix.EpollEvent
	n, err := l.waiter.wait(l.epoll, events[:], timeout)
	l.now = time.Now()
	if err != nil {
		l.Fail(fmt.Errorf("cannot wait for events: %w", err))
		return
	}
	for _, event := range events[:n] {
		f := l.files[int(event.Fd)]
		if f == nil || f.generation != event.Pad {
			continue // closed meanwhile
		}
		f.ready()
	}
	l.fire()
}

// runTasks runs the queued tasks. Tasks that they queue run in the next round, which does not
// wait.
func (l *Loop) runTasks() {
	for end := len(l.tasks); l.next < end && l.next < len(l.tasks); {
		t := l.tasks[l.next]
		l.next++
		t.queued = false
		t.run()
	}
	if l.next == len(l.tasks) {
		l.tasks, l.next = l.tasks[:0], 0
	} else {
		l.tasks, l.next = append(l.tasks[:0], l.tasks[l.next:]...), 0
	}
}

// timeout returns the time in milliseconds until something is due; -1 for never.
func (l *Loop) timeout(now time.Time) int {
	if l.next < len(l.tasks) || l.stopped {
		return 0
	}
	next := l.timers.next()
	if next.IsZero() {
		return -1
	}
	// epoll_wait(2) takes a 32-bit int. For a later time the loop waits again.
	return int(min(max(0, (next.Sub(now)+time.Millisecond-1)/time.Millisecond), math.MaxInt32))
}
