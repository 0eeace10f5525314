package receiver

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/syslog"
	"devlog/internal/watcher"
)

// owner is the receiver as a watcher.Owner.
type owner struct{ r *Receiver }

// startWatcher watches /dev/log below the root. The command repairs it.
func (r *Receiver) startWatcher() {
	c := watcher.Config{
		Owner: owner{r}, Root: r.root, Init: r.init, Command: r.config.Repair.Command, Private: r.config.Repair.Private,
		Watches:  r.process.Watches,
		Host:     slices.Contains(r.config.Repair.Command, "--host"),
		Confined: r.confined,
	}
	r.root = -1 // the watcher closes it
	if r.resumed != nil && r.resumed.Watcher != nil {
		c.State = watcher.StateOf(r.resumed.Watcher, time.Now())
	}
	r.watcher = watcher.New(c)
}

// Names returns the names to clean up, of which some are the sockets'.
func (o owner) Names() []watcher.Name {
	var list []watcher.Name
	for _, s := range o.r.sockets {
		n := watcher.Name{Dir: -1, Socket: s.FD, ID: s.ID, Run: s.run}
		if s.at != nil {
			n.Dir, n.Name = s.at.Dir, s.at.Name
		}
		list = append(list, n)
	}
	for _, p := range o.r.cleanups {
		list = append(list, watcher.Name{Dir: p.Dir, Name: p.Name, Socket: -1})
	}
	return list
}

func (o owner) Retire(fd int) {
	i := slices.IndexFunc(o.r.sockets, func(s *socket) bool { return s.FD == fd })
	if i < 0 {
		return
	}
	s := o.r.sockets[i]
	if s.at != nil {
		s.at.ID = file.ID{} // the name does not belong to the receiver any more
	}
	o.r.retire(s)
}

// Drop gives up the socket with that inode number (fstat(2)), which another process keeps.
func (r *Receiver) Drop(inode uint64) {
	for _, s := range r.sockets {
		var st unix.Stat_t
		if unix.Fstat(s.FD, &st) == nil && st.Ino == inode {
			r.retire(s)
			return
		}
	}
}

// Running returns whether a repair runs. It is a child of this program.
func (r *Receiver) Running() bool { return r.watcher != nil && r.watcher.Running() }

func (r *Receiver) retire(s *socket) {
	if r.config.Node.Reader != nil {
		r.config.Node.Reader.Retire(s.FD)
		_ = unix.Close(s.FD)
	} else if err := r.intake.Remove(s.Socket); err != nil {
		r.Say(syslog.Warning, "cannot read the last messages of a socket: "+err.Error())
	}
	r.sockets = slices.DeleteFunc(r.sockets, func(o *socket) bool { return o == s })
}

// TakeOver receives from what a repair hands over, and removes it at the end.
func (o owner) TakeOver(files []handover.File, run int) error { return o.r.TakeOver(files, run) }

// TakeOver also receives from the sockets, and removes the names at the end. run is the number
// of the repair that made them.
func (r *Receiver) TakeOver(files []handover.File, run int) error {
	var use []handover.File
	for _, f := range files {
		switch f.Name {
		case handover.NameReady, handover.NameInit, handover.NameRoot, handover.NameReceiver:
			_ = unix.Close(f.FD) // the receiver has its own
		default:
			use = append(use, f)
		}
	}
	var fresh inherited
	given, err := handover.Describe(use)
	if err == nil {
		fresh, err = r.inherit(given)
	}
	if err == nil && len(fresh.sockets) > 0 && !r.receives && r.config.Node.Reader == nil {
		err = r.OpenOutputs(nil)
	}
	if err != nil {
		handover.CloseFiles(use)
		return err
	}
	r.addCleanups(fresh)
	for i, s := range fresh.sockets {
		s.run = run
		if err := r.read(s); err != nil {
			for _, rest := range fresh.sockets[i:] { // a message sent there would not be read
				_ = unix.Close(rest.FD)
			}
			return err
		}
		r.sockets = append(r.sockets, s)
	}
	return nil
}

func (o owner) Repaired() { o.r.counts.Repairs++ }

func (o owner) Say(s syslog.Severity, text string) { o.r.Say(s, text) }

func (o owner) Soon() { o.r.Soon() }

func (o owner) Poll(fd int, events uint32) error {
	return o.r.process.Loop.Change(fd, events, func() {
		o.r.watcher.Event(fd)
		o.r.Soon()
	})
}
