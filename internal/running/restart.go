package running

import (
	"sync"
	"time"
)

const (
	// restartTime is how long systemd may take to restart a receiver. It first waits a tenth
	// of a second.
	restartTime = 3 * time.Second
	// restartStep is the time between two looks for a restarted receiver.
	restartStep = 20 * time.Millisecond
)

// restart is what this process waits for: all containers of a stopped service wait for the
// same restart, so they share one deadline.
var restart = restartWait{now: time.Now, sleep: time.Sleep}

// restartWait waits for restarted receivers, in all for restartTime from the first wait on.
type restartWait struct {
	now   func() time.Time
	sleep func(time.Duration)

	lock     sync.Mutex
	deadline time.Time // zero before the first wait
}

// wait calls find until it returns a process ID other than 0, or the deadline has passed. It
// returns what the last call returned.
func (w *restartWait) wait(find func() int) int {
	for {
		pid := find()
		if pid != 0 || w.passed() {
			return pid
		}
		w.sleep(restartStep)
	}
}

// passed returns whether the deadline has passed. The first call sets it.
func (w *restartWait) passed() bool {
	w.lock.Lock()
	defer w.lock.Unlock()
	if w.deadline.IsZero() {
		w.deadline = w.now().Add(restartTime)
	}
	return !w.now().Before(w.deadline)
}
