package node

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/lost"
	"devlog/internal/notify"
	"devlog/internal/syslog"
)

// A container's root may mount a file system that never answers (FUSE). A process that looks at a
// name in it waits, and only SIGKILL ends that: the whole service would wait for one container.
// When that happens, the service forgets the container and starts again.

// guardTime is the longest time that files of a container may take to answer. The shortest is half of
// that. Hooks wait longer for the service.
const guardTime = 12 * time.Second

// section is a piece of work with the files of a container.
type section struct {
	args   []string // the container's, for messages; nil if they are not known
	number uint64   // its number; 0 if nothing is saved of it
	names  []string // what the next service must not get from the service manager
}

// guard watches how long sections take.
type guard struct {
	now   atomic.Pointer[section] // nil while the loop is in none
	armed atomic.Bool
	seen  *section // at the last tick
	timer *time.Timer
	limit time.Duration
	stuck func(*section)
}

// newGuard returns a guard that calls stuck, in another goroutine, for a section that takes longer
// than the limit, or half of it.
func newGuard(limit time.Duration, stuck func(*section)) *guard {
	g := &guard{limit: limit, stuck: stuck}
	g.timer = time.AfterFunc(time.Hour, g.tick)
	g.timer.Stop()
	return g
}

// enter begins a section, which may be inside another one. The result ends it.
func (g *guard) enter(s section) (leave func()) {
	outer := g.now.Swap(&s)
	g.arm()
	return func() { g.now.Store(outer) }
}

// outside calls a function that waits for something else than a container, such as the service manager or
// the disk of the logs. That is no part of the section.
func (g *guard) outside(do func() error) error {
	s := g.now.Swap(nil)
	err := do()
	if s != nil {
		again := *s // for the time after it
		g.now.Store(&again)
		g.arm()
	}
	return err
}

func (g *guard) arm() {
	if g.armed.CompareAndSwap(false, true) {
		g.timer.Reset(g.limit / 2)
	}
}

// tick checks twice per limit whether the loop is still in the section of the last check. If it is
// in none, there is no next check until enter.
func (g *guard) tick() {
	s := g.now.Load()
	switch s {
	case nil:
		g.seen = nil
		g.armed.Store(false)
		if g.now.Load() != nil { // its enter saw the guard armed
			g.arm()
		}
	case g.seen:
		g.stuck(s)
	default:
		g.seen = s
		g.timer.Reset(g.limit / 2)
	}
}

// section returns the section for work with the container's files.
func (c *container) section() section {
	v := c.saved.version
	return section{c.args, c.number, []string{c.nameOf(v), c.nameOf(v + 1)}} // it may be saving the next
}

// reap removes the children that an earlier program of this process has left, and that have ended.
func reap() {
	for {
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != nil || pid == 0 {
			return
		}
	}
}

// restart starts the service again without the container of the section. The loop waits in it, so
// its goroutine cannot do that.
func (n *Node) restart(s *section) {
	n.Log(syslog.Err, fmt.Sprintf("a file system of the container of %q does not answer: restarting without that container; hint: once it answers, run devlog-hook repair --pid", s.args))
	for _, name := range s.names {
		_ = notify.Unkeep(name) // without a service manager there is nothing to remove
	}
	if err := lost.Unsave(lost.Dir, s.number); err != nil {
		n.Log(syslog.Warning, err.Error())
	}
	if !notify.Managed() { // nobody else would start it
		err := unix.Exec(n.Program, os.Args, os.Environ())
		n.Log(syslog.Err, "cannot restart: "+err.Error())
	}
	os.Exit(1)
}
