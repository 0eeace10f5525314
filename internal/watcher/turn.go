package watcher

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/pace"
)

// Where many share a /dev, a change wakes up all watchers, and usually one repair is enough for
// all. So each waits for its turn, and then checks again. The lock only saves work: any container
// that shares /dev can hold it.

const (
	// firstTurn and lastTurn are the shortest and longest time between two tries.
	firstTurn = 50 * time.Millisecond
	lastTurn  = 100 * time.Millisecond
	// maxTurns is how often a watcher waits for its turn before it repairs without it.
	maxTurns = 5
)

// pause is the repairs in a row.
type pause struct {
	pace.Repairs
	runs   int
	failed string // why no repair is possible, as reported
	turn   turn
}

// turn is the lock of a watcher that repairs.
type turn struct {
	lock   int // -1 for none
	waited int
}

// takeTurn returns whether it is this watcher's turn: no other watcher of the same /dev repairs. If
// /dev/log was replaced since the last try, it starts to wait again.
func (w *Watcher) takeTurn(replaced bool) bool {
	t := &w.pause.turn
	if w.watches.off {
		return true
	}
	if replaced {
		t.waited = 0
	}
	dev, err := w.container.openDev()
	if err != nil {
		return true
	}
	defer unix.Close(dev)
	fd, err := file.OpenNullIn(dev) // repairs lock the directory itself
	if err != nil {
		return true
	}
	err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) && t.waited < maxTurns {
		t.waited++
		_ = unix.Close(fd)
		return false
	}
	t.end()
	t.lock = fd
	return true
}

// end gives the turn to others.
func (t *turn) end() {
	t.waited = 0
	file.Shut(&t.lock)
}
