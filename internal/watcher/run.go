package watcher

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/rerun"
	"devlog/internal/syslog"
)

// maxSockets is how many sockets the owner receives from, unless more have names.
const maxSockets = 32

// run is a running repair.
type run struct {
	*rerun.Run
	before   mark // what was at /dev/log when it started
	hostGone bool // the host's socket had no name then
}

// start starts a repair. It returns a run even with an error.
func (w *Watcher) start(now time.Time) (r *run, err error) {
	r = &run{before: w.container.devLog(), hostGone: w.container.hostGone()}
	if r.Run, err = w.command.Start(w.container.root, w.container.init, now); err != nil {
		return r, err
	}
	for _, fd := range r.Files() {
		if err := w.owner.Poll(fd, unix.EPOLLIN); err != nil {
			r.Finish(0)
			r.Close()
			return r, err
		}
	}
	return r, nil
}

// takeHandover gives the owner what the repair handed over.
func (w *Watcher) takeHandover() {
	for {
		files, err := w.run.Receive()
		if files != nil {
			err = errors.Join(err, w.owner.TakeOver(files, w.pause.runs))
			w.retireOldest()
		}
		if err != nil {
			w.owner.Say(syslog.Warning, "cannot take over the repair: "+err.Error())
		}
		if files == nil {
			return
		}
	}
}

// retireOldest gives up the oldest sockets if there are too many. Earlier repairs made them,
// and they may still have senders.
func (w *Watcher) retireOldest() {
	var sockets []Name
	for _, n := range w.owner.Names() {
		if n.Socket >= 0 {
			sockets = append(sockets, n)
		}
	}
	id, err := w.container.resolve()
	for n := len(sockets) - maxSockets; n > 0 && len(sockets) > 0; sockets = sockets[1:] {
		named, _ := sockets[0].lookup()
		if s := sockets[0]; (err != nil || s.ID != id) && (s.Dir < 0 || named != s.ID) {
			w.owner.Retire(s.Socket)
			n--
		}
	}
}

// dropRun gives up the sockets that a repair handed over before it failed and removed their
// names.
func (w *Watcher) dropRun(number int) {
	for _, s := range w.owner.Names() {
		if s.Socket < 0 || s.Dir < 0 || s.Run != number {
			continue
		}
		if id, _ := s.lookup(); id != s.ID {
			w.owner.Retire(s.Socket)
		}
	}
}
