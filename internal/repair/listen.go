package repair

import (
	"errors"
	"os"
	"path"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/changes"
	"devlog/internal/crash"
	"devlog/internal/handover"
	"devlog/internal/names"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
	"devlog/internal/running"
	"devlog/internal/target"
)

// recordedSockets returns the record of the further sockets before they are made: those that
// are asked for, and those of an earlier repair.
func recordedSockets(facts []plan.ListenFacts, before *changes.Changes) (list []changes.Further) {
	for _, l := range facts {
		s := changes.Further{Path: l.Path}
		if before != nil {
			s = before.Find(l.Path)
		}
		list = append(list, s)
	}
	return list[:min(len(list), changes.MaxListen)]
}

// listenToo binds a further socket. If it cannot, it only reports that: the container still has
// its /dev/log.
func (w *work) listenToo(at string) {
	if err := w.bindFurther(at); err != nil {
		w.options.Receiver.Say("cannot listen on " + at + ": " + err.Error())
	}
}

func (w *work) bindFurther(at string) error {
	dir, made, err := w.target.Root.MkdirAll(path.Dir(at))
	if err != nil {
		return err
	}
	crash.Point()
	if shared, err := w.inSharedDev(dir); err != nil || shared {
		rootfs.RemoveAll(made)
		dir.Close()
		return errors.Join(err, rootfs.ErrChanged)
	}
	name := path.Base(at)
	s := changes.Further{Path: at, Made: len(made)}
	kind, temp := handover.NameSocket, names.TempPrefix
	if names.OfJournal(at) {
		kind, temp = handover.NameJournal, names.JournalTemp
	}
	socket, id, err := dir.BindAs(temp, func() (int, error) { return w.furtherSocket(at) }, name, w.foundAt(at))
	if err != nil {
		rootfs.RemoveAll(made)
		dir.Close()
		return err
	}
	crash.Point()
	w.rollback = append(w.rollback, func() {
		unlinkOwn(dir, name, id)
		removeDirs(made)
	})
	w.made = append(w.made, made...)
	w.further = append(w.further, handover.Passed{File: socket, Name: kind},
		handover.Passed{File: dir.File(), Name: handover.NameUnlink + name})
	s.ID = id
	w.recorded.SetListen(s)
	return w.recorded.Write(w.at)
}

// inSharedDev returns whether the directory is in a /dev that others share: a directory on the
// way was replaced by a link since the inspection.
func (w *work) inSharedDev(dir *rootfs.Dir) (bool, error) {
	at, err := dir.Self()
	if err != nil {
		return false, err
	}
	dev, err := w.dev.Self()
	return w.facts.Dev.Sharing != plan.Private && at.ID.Dev == dev.ID.Dev, err
}

// furtherSocket makes a socket for that path.
func (w *work) furtherSocket(at string) (s int, err error) {
	if at == names.JournalStdout {
		return unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	}
	if s, err = newSocket(w.target, nil); err == nil && at == names.JournalEntries {
		_ = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_PASSCRED, 1) // else the first entries have no sender
	}
	return s, err
}

// foundAt returns what was found at the path of a further socket.
func (w *work) foundAt(at string) rootfs.Stat {
	for _, l := range w.facts.Listen {
		if l.Path == at {
			return rootfs.Stat{Kind: l.Kind, ID: l.ID}
		}
	}
	return rootfs.Stat{Kind: rootfs.Absent}
}

const (
	// handTime is how long a receiver that runs may take to fetch sockets.
	handTime = 10 * time.Second
	// handDir is where it does that, in its own root.
	handDir = "/run"
)

// hand hands the further sockets over to the receiver that runs: it fetches them on SIGHUP.
func (w *work) hand() error {
	if len(w.further) == 0 {
		return nil // listenToo has reported why
	}
	return rootfs.AsSelf(func() error {
		err := w.handTo(w.facts.Receiver.PID)
		if err != nil {
			err = &plan.Refusal{Reason: "the receiver that runs cannot take further sockets: " + err.Error(),
				Advice: "run devlog-hook undo, then repair with all --listen options"}
		}
		return err
	})
}

func (w *work) handTo(pid int) error {
	if running.AtNode(pid) {
		return running.Hand(w.at, append(slices.Clone(w.further), w.madeDirs()...))
	}
	deadline := time.Now().Add(handTime)
	proc := "/proc/" + strconv.Itoa(pid)
	status, err := os.ReadFile(proc + "/status")
	if err != nil {
		return err
	}
	root, err := rootfs.Open(proc + "/root")
	if err != nil {
		return err
	}
	defer root.Close()
	dir, err := root.Dir(handDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	name := handover.FetchName(target.InnermostPID(string(status)))
	found, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	listener, _, err := dir.Bind(func() (int, error) {
		return unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	}, name, found)
	if err != nil {
		return err
	}
	defer listener.Close()
	defer dir.Unlink(name) //nolint:errcheck // nobody listens there any more
	files := append(slices.Clone(w.further), w.madeDirs()...)
	if err := running.Signal(pid, w.at, unix.SIGHUP); err != nil {
		return err
	}
	return handover.Serve(int(listener.Fd()), pid, files, deadline)
}
