//go:build soak

package soak

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"devlog/test/host"
)

// fault is something that goes wrong. begin starts it, and returns a function that ends it and waits
// until everything works again.
type fault struct {
	name  string
	begin func(b *box) (end func())
	not   func(b *box) bool // whether a box cannot have it; nil if all can
	kept  bool              // a service manager must keep the service's files
}

func served(b *box) bool { return b.served }

// hasOwn returns whether the box has a receiver of its own on the host.
func hasOwn(b *box) bool { return !b.inside && !b.served }

func notOwn(b *box) bool { return !hasOwn(b) }

// boxFaults are those of one container.
var boxFaults = []fault{
	{name: "receiver killed", begin: killReceiver, not: served},
	{name: "hook killed", begin: killHook},
	{name: "hook killed at any time", begin: killRunningHook},
	{name: "undo killed", begin: killUndo},
	{name: "receiver killed, flood", begin: killInFlood, not: served},
	{name: "upgrade killed", begin: killUpgrade, not: notOwn},
	{name: "receiver stopped for a while", begin: pauseReceiver, not: served},
	{name: "disk full", begin: fillDisk},
	{name: "disk full, flood", begin: floodFullDisk},
	{name: "disk full, receiver killed", begin: killOnFullDisk, not: served},
	{name: "disk full, upgrade", begin: upgradeOnFullDisk, not: notOwn},
	{name: "log renamed", begin: func(b *box) func() { return rename(b, "") }},
	{name: "log removed", begin: removeFile},
	{name: "log renamed, HUP", begin: func(b *box) func() { return rename(b, "HUP") }},
	{name: "upgrade", begin: upgrade, not: notOwn}, // a receiver inside runs from memory
	{name: "container restarted", begin: restart},
	// Those of a process are serviceFaults where that is the host's service.
	{name: "write: ENOSPC", begin: injector("write", "error=ENOSPC:when=1..3", true), not: served},
	{name: "write: EIO", begin: injector("write", "error=EIO:when=1..3", true), not: served},
	{name: "write: EINTR", begin: injector("write", "error=EINTR:when=1+2", true), not: served},
	// With signals that the receiver ignores: if strace detaches during a call that it makes
	// fail, the call returns ENOSYS.
	{name: "epoll_pwait: EINTR", begin: injector("epoll_pwait", "signal=WINCH:when=1+2", false), not: served},
	{name: "recvmmsg: signals", begin: injector("recvmmsg", "signal=WINCH:when=1+2", false), not: served},
	{name: "openat: EMFILE", begin: openFails, not: served},
	{name: "socket removed", begin: removeSocket},
	{name: "socket removed, pipe2 and socketpair: EMFILE", begin: repairFails, not: served},
	{name: "clock jumps", begin: jumpClock, not: served},
	{name: "clock jumps, disk full", begin: jumpOnFullDisk, not: served},
	{name: "clock jumps, upgrade", begin: jumpAndUpgrade, not: notOwn},
}

// maxLost is the most messages that the kill of a receiver may cost besides buffered ones: one
// reading and a full queue.
func maxLost() int { return maxRead + maxQueued() }

// killed begins the loss of a receiver that is killed and has buffered at most kept bytes. over ends
// it.
func (b *box) killed(why string, kept int) (over func()) {
	l := &loss{why: why, from: soakClock(), to: never, bound: maxLost(), kept: kept}
	b.losses = append(b.losses, l)
	b.down()
	b.log.torn = 1
	return func() { l.to = soakClock() }
}

// down begins a time in which a receiver may be missing in the box; up ends it.
func (b *box) down() { b.downs = append(b.downs, span{soakClock(), never}) }

func (b *box) up() {
	for i := range b.downs {
		b.downs[i].to = min(b.downs[i].to, soakClock())
	}
}

func (b *box) isDown() bool {
	return slices.ContainsFunc(b.downs, func(w span) bool { return w.to == never })
}

// kill kills the receiver, which has buffered at most kept bytes.
func (b *box) kill(kept int) {
	pid := b.mustReceiver()
	over := b.killed("the kill of receiver "+strconv.Itoa(pid), kept)
	b.s.signal("KILL", pid)
	host.WaitDead(b.s.t, b.s.h, pid)
	over()
}

// mended repairs the container. Its log may be torn until it works again.
func (b *box) mended() {
	b.repair()
	b.up()
	b.works()
	b.log.torn = 0
}

func killReceiver(b *box) func() {
	b.kill(0)
	return b.mended
}

func killInFlood(b *box) func() {
	b.sender.more(b.s.t, 5)
	b.progress(500)
	return killReceiver(b)
}

// unrepair makes that there is something to repair: the receiver is killed, or what the service has is undone.
func (b *box) unrepair() {
	if !b.served {
		b.kill(0)
		return
	}
	b.down()
	b.s.h.Do(b.hook("undo")...) // it may fail: the service may not run at that moment, or have no container yet
}

// killHook kills a repair at one of its checkpoints, or lets it finish.
func killHook(b *box) func() {
	b.unrepair()
	over := b.killed("the kill of a hook", 0) // it may have started a receiver
	b.crash(b.hook("repair"), 20, b.unrepair)
	return func() {
		b.repair()
		over()
		b.mended()
	}
}

// died returns whether the command, or a command that it ran, was killed.
func died(r host.Result) bool { return r.Code < 0 || r.Code > 128 }

// crash kills a command of devlog-hook at one of its first most checkpoints. redo gives the command
// something to do again.
func (b *box) crash(command []string, most int, redo func()) {
	for at := b.s.rng.IntN(most) + 1; at > 0; at-- {
		if died(b.s.h.Do(append([]string{"env", fmt.Sprintf("DEVLOG_CRASH=%d", at)}, command...)...)) {
			return
		}
		redo()
	}
	b.s.miss()
}

// killRunningHook kills a repair at any time.
func killRunningHook(b *box) func() {
	b.unrepair()
	over := b.killed("the kill of a hook", 0)
	b.killLater(b.hook("repair"), b.unrepair)
	return func() {
		b.repair()
		over()
		b.mended()
	}
}

// killLater starts a command and kills it within about the time that it takes.
func (b *box) killLater(command []string, redo func()) {
	for range 20 {
		after := fmt.Sprintf("%.4f", 0.0005+b.s.rng.Float64()*0.03) // seconds
		if died(b.s.h.Do(append([]string{"timeout", "--signal=KILL", after}, command...)...)) {
			return
		}
		redo()
	}
	b.s.miss()
}

// killUndo kills an undo. The receiver ends regularly meanwhile, which loses nothing.
func killUndo(b *box) func() {
	b.down()
	b.crash(b.hook("undo"), 6, b.repair)
	return b.mended
}

// killUpgrade kills a receiver while its program is replaced.
func killUpgrade(b *box) func() {
	b.s.signal("USR2", b.mustReceiver())
	time.Sleep(time.Duration(b.s.rng.IntN(50)) * time.Millisecond) // at a random point
	return killReceiver(b)
}

// pauseReceiver makes senders wait. They would wait forever if the receiver did not continue.
func pauseReceiver(b *box) func() {
	pid := b.mustReceiver()
	b.s.signal("STOP", pid)
	return func() {
		b.s.signal("CONT", pid)
		b.works()
	}
}

func fillDisk(b *box) func() {
	free := b.full()
	b.sender.more(b.s.t, 1)
	b.progress(1000)
	return func() {
		free()
		b.works()
	}
}

// floodFullDisk sends more than a receiver buffers.
func floodFullDisk(b *box) func() {
	free := b.full()
	b.sender.more(b.s.t, 12)
	b.progress(12000)
	return func() {
		free()
		b.works()
	}
}

func killOnFullDisk(b *box) func() {
	free := b.full()
	b.sender.more(b.s.t, 1)
	b.progress(1000)
	b.kill(maxKept)
	return func() {
		free()
		b.mended()
	}
}

// upgrade upgrades the receiver in place to the same program.
func upgrade(b *box) func() {
	const said = "upgraded to devlogd "
	was := b.log.said(said)
	b.s.signal("USR2", b.mustReceiver())
	return func() {
		b.s.eventually("the receiver of "+b.name+" says that it is upgraded", func() bool { return b.log.said(said) == was+1 })
		b.works()
	}
}

func upgradeOnFullDisk(b *box) func() {
	free := b.full()
	b.sender.more(b.s.t, 1)
	b.progress(1000)
	end := upgrade(b)
	return func() {
		free()
		end()
	}
}

// rename renames the log as logrotate does, with a signal or without.
func rename(b *box, signal string) func() {
	b.works() // the file exists
	old := b.log.path + "." + strconv.Itoa(b.s.round)
	host.Check(b.s.t, os.Rename(b.log.path, old))
	if signal != "" && b.served {
		b.s.service.Signal(signal)
	} else if signal != "" {
		b.s.signal(signal, b.mustReceiver())
	}
	return func() {
		b.s.eventually("the receiver of "+b.name+" has opened its log again", func() bool {
			pid := b.writer()
			_, err := os.Stat(b.log.path)
			return err == nil && pid != 0 && !b.s.has(pid, b.dir+"/messages."+strconv.Itoa(b.s.round), "/var/log/messages."+strconv.Itoa(b.s.round))
		})
		b.log.renamed(old)
		b.works()
	}
}

// removeFile removes the log.
func removeFile(b *box) func() {
	b.works()
	host.Check(b.s.t, os.Remove(b.log.path))
	return func() {
		b.s.eventually("the receiver of "+b.name+" has created its log again", func() bool {
			_, err := os.Stat(b.log.path)
			return err == nil
		})
		b.log.begin()
		b.works()
	}
}

// has returns whether a process has a file open with one of these names, as the process sees it.
func (s *soak) has(pid int, names ...string) bool {
	list := strings.Join(s.links(pid), "\n") + "\n"
	for _, name := range names {
		if strings.Contains(list, name+"\n") {
			return true
		}
	}
	return false
}

// restart restarts the container, and a receiver inside it. A receiver on the host loses nothing
// then.
func restart(b *box) func() {
	if b.inside {
		defer b.killed("the end of the container", 0)()
	}
	b.down()
	b.end()
	b.endSender(b.sender)
	b.s.eventually("the receiver of "+b.name+" has ended", func() bool { return !b.hasReceiver() })
	return func() {
		b.begin()
		b.up()
		b.works()
		b.log.torn = 0
	}
}

// removeSocket removes the name of the private socket.
func removeSocket(b *box) func() {
	b.down()
	host.Check(b.s.t, os.Remove(b.s.h.Path(fmt.Sprintf("/proc/%d/root/run/devlog/log", b.pid))))
	return func() {
		b.s.eventuallyRepaired("the socket of "+b.name+" is there again", func() bool {
			_, err := os.Stat(b.s.h.Path(fmt.Sprintf("/proc/%d/root/run/devlog/log", b.pid)))
			return err == nil
		})
		b.up()
		b.works()
	}
}
