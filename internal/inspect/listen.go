package inspect

import (
	"errors"
	"os"
	"path"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/changes"
	"devlog/internal/names"
	"devlog/internal/pidfd"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
)

// listen examines the further sockets: those that are asked for, then those of an earlier
// repair.
func (i *inspection) listen(asked []string) error {
	list := slices.Clone(asked)
	for _, s := range i.recorded {
		if !slices.Contains(list, s.Path) && path.IsAbs(s.Path) {
			list = append(list, s.Path)
		}
	}
	for n, at := range list {
		l := plan.ListenFacts{PathFacts: plan.PathFacts{Path: at, Kind: rootfs.Absent, Sharing: plan.Private}, Asked: n < len(asked)}
		switch err := i.further(&l); {
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM):
			return err
		case err != nil: // the container's directories are of no matter for /dev/log
			l.Unwritable = err.Error()
		}
		if n >= changes.MaxListen {
			l.Unwritable = "there are too many"
		}
		i.facts.Listen = append(i.facts.Listen, l)
		if n > 2*changes.MaxListen { // a forged record
			break
		}
	}
	return nil
}

// errPlace says that a path is not one for a further socket.
var errPlace = errors.New("its directory is one of devlog's own, or /dev")

// further examines one further socket.
func (i *inspection) further(l *plan.ListenFacts) error {
	if names.OfJournal(l.Path) && i.systemd() {
		return errSystemd
	}
	p := &rootfs.Place{Path: l.Path, Name: path.Base(l.Path), Stat: rootfs.Stat{Kind: rootfs.Absent}}
	defer p.Close()
	dir, err := i.target.Root.Resolve(path.Dir(l.Path))
	if err != nil {
		return err
	}
	defer dir.Close()
	switch {
	case dir.Blocked != nil:
		return dir.Blocked
	case dir.Path != path.Dir(l.Path) && dir.Stat.Kind == rootfs.Absent:
		return errors.New("a link on the way leads nowhere")
	case dir.Stat.Kind != rootfs.Absent:
		if p.Dir, err = i.target.Root.Dir(path.Dir(l.Path)); err != nil {
			return err
		}
		at, err := p.Dir.Self()
		if err != nil {
			return err
		}
		if at.ID == i.devStat.ID || changes.Read(p.Dir) != nil && !names.OfJournal(l.Path) {
			return errPlace
		}
		if p.Stat, err = p.Dir.Lstat(p.Name); err != nil {
			return err
		}
	}
	if l.Kind, l.ID = p.Stat.Kind, p.Stat.ID; l.Kind == rootfs.Socket {
		to, err := p.Dir.Listening(p.Name)
		if err != nil {
			return err
		}
		l.Live = to.Live
	}
	l.Ours = l.Live && slices.ContainsFunc(i.recorded, func(s changes.Further) bool { return s.Path == l.Path && s.ID == l.ID })
	return i.directory(p, &l.PathFacts)
}

// errSystemd says that the journal's sockets are not devlog's to make.
var errSystemd = errors.New("systemd is the container's first process, and has a journal of its own")

// systemd returns whether the container's first process is systemd, as far as that can be told.
func (i *inspection) systemd() bool {
	first := 1
	if !i.target.Inside {
		if i.target.Init == nil {
			return false
		}
		pid, err := pidfd.PID(int(i.target.Init.Fd()))
		if err != nil {
			return false
		}
		first = pid
	}
	name, err := os.ReadFile("/proc/" + strconv.Itoa(first) + "/comm")
	return err == nil && string(name) == "systemd\n"
}
