// Package eventloop owns waiting: one goroutine waits with epoll(7) until a file is
// ready, a timer is due or a signal came, and calls whoever asked for it.
package eventloop

import (
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// maxEvents is how many events one wait returns at most.
const maxEvents = 64

// Loop waits for events. Only the goroutine that calls Run may use it, but for Wake.
type Loop struct {
	epoll   int
	files   map[int]*polled
	last    int32 // generation of the file that was added last
	timers  timers
	firing  bool
	tasks   []*Task
	next    int // of the tasks, the first that has not run
	waiter  waiter
	yield   func() bool
	now     time.Time
	err     error
	stopped bool
	signals *Signals
}

// polled is a descriptor that is waited for.
type polled struct {
	// generation tells it from an earlier file with the same number: epoll(7) reports
	// a closed file for as long as another process has it open.
	generation int32
	ready      func() error
}

// New returns a loop that waits for nothing yet. Close it.
func New() (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create an epoll instance: %w", err)
	}
	return &Loop{epoll: epoll, files: map[int]*polled{}, now: time.Now()}, nil
}

// Close ends the loop's use of the kernel. The files stay open.
func (l *Loop) Close() {
	if l.signals != nil {
		l.signals.close()
	}
	_ = unix.Close(l.epoll)
}

// Now is the time at which the events of this round were received.
func (l *Loop) Now() time.Time { return l.now }

// Add has ready called each time fd can be read. An error of ready ends Run.
// Closing fd also removes it.
func (l *Loop) Add(fd int, ready func() error) error { return l.Poll(fd, unix.EPOLLIN, ready) }

// Poll has ready called for these events (epoll_ctl(2)) of fd.
func (l *Loop) Poll(fd int, events uint32, ready func() error) error {
	l.last++
	event := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: l.last}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("wait for descriptor %d: %w", fd, err)
	}
	l.files[fd] = &polled{l.last, ready}
	return nil
}

// Change changes the events of fd, for which ready is called if fd is not known, or
// another file has that number now.
func (l *Loop) Change(fd int, events uint32, ready func() error) error {
	err := l.control(unix.EPOLL_CTL_MOD, fd, events)
	if errors.Is(err, unix.ENOENT) {
		err = l.Poll(fd, events, ready)
	}
	return err
}

// Remove stops waiting for fd. Call it before fd is closed.
func (l *Loop) Remove(fd int) error {
	delete(l.files, fd)
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, fd, nil); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("stop waiting for descriptor %d: %w", fd, err)
	}
	return nil
}

// Pause stops waiting for fd until Resume: what can be read waits in the kernel.
func (l *Loop) Pause(fd int) error {
	if l.files[fd] == nil {
		return fmt.Errorf("pause descriptor %d: %w", fd, unix.ENOENT)
	}
	// An end that was closed is reported also where no events are asked for
	// (EPOLLHUP in epoll_ctl(2)), so that the descriptor has to leave.
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, fd, nil); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("pause descriptor %d: %w", fd, err)
	}
	return nil
}

// Resume waits for fd again.
func (l *Loop) Resume(fd int) error {
	err := l.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN)
	if errors.Is(err, unix.EEXIST) { // it was not paused
		return nil
	}
	return err
}

// control has the kernel wait for the events of a file that is known.
func (l *Loop) control(operation, fd int, events uint32) error {
	f := l.files[fd]
	if f == nil {
		return fmt.Errorf("wait for descriptor %d: %w", fd, unix.ENOENT)
	}
	event := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: f.generation}
	if err := unix.EpollCtl(l.epoll, operation, fd, &event); err != nil {
		return fmt.Errorf("wait for descriptor %d: %w", fd, err)
	}
	return nil
}

// Task is something to do once at the end of a round, however often it was asked for.
type Task struct {
	run    func()
	queued bool
}

// NewTask returns a task that calls run.
func NewTask(run func()) *Task { return &Task{run: run} }

// Soon runs the task when the events of this round are handled. It costs nothing
// where the task is queued already.
func (l *Loop) Soon(t *Task) {
	if !t.queued {
		t.queued = true
		l.tasks = append(l.tasks, t)
	}
}

// Stop has Run return once this round is over.
func (l *Loop) Stop() { l.stopped = true }

// Fail has Run return this error once this round is over.
func (l *Loop) Fail(err error) {
	l.err = errors.Join(l.err, err)
	l.stopped = true
}

// ErrYielded says that another goroutine runs the loop now.
var ErrYielded = errors.New("another goroutine runs the loop")

// Run waits for events and handles them until Stop is called or something fails.
// While a task hangs another goroutine may call Run, which goes on with the next
// task; it returns ErrYielded when yield (see SetYield) says so.
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

// RunOnce handles what is ready now, without waiting.
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

// SetYield has yield called before each round; see Run.
func (l *Loop) SetYield(yield func() bool) { l.yield = yield }

// round waits for at most timeout milliseconds, -1 for as long as it takes, and handles
// what came.
func (l *Loop) round(timeout int) {
	var events [maxEvents]unix.EpollEvent
	n, err := l.waiter.wait(l.epoll, events[:], timeout)
	l.now = time.Now()
	if err != nil {
		l.Fail(fmt.Errorf("wait for events: %w", err))
		return
	}
	for _, event := range events[:n] {
		f := l.files[int(event.Fd)]
		if f == nil || f.generation != event.Pad {
			continue // closed since
		}
		if err := f.ready(); err != nil {
			l.Fail(err)
		}
	}
	l.fire()
}

// runTasks runs what was asked for; what the tasks ask for runs in the next round, at once.
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

// timeout is the time in milliseconds until something is due, -1 for never.
func (l *Loop) timeout(now time.Time) int {
	if l.next < len(l.tasks) || l.stopped {
		return 0
	}
	next := l.timers.next()
	if next.IsZero() {
		return -1
	}
	// epoll_wait(2) takes an int of 32 bits: a later time is waited for again.
	return int(min(max(0, (next.Sub(now)+time.Millisecond-1)/time.Millisecond), math.MaxInt32))
}
