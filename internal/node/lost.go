package node

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"devlog/internal/daemon"
	"devlog/internal/file"
	"devlog/internal/names"
	"devlog/internal/nodecall"
	"devlog/internal/pidfd"
	"devlog/internal/record"
	"devlog/internal/syslog"
)

// Without a service manager that keeps them, or after the service was stopped, the sockets of its
// containers are lost. Files say which containers there were, and the hook repairs those again.

// remember writes the container's file.
func (c *container) remember() {
	init := record.Process{}
	if c.receiver.Init() >= 0 {
		init.PID, _ = pidfd.PID(c.receiver.Init()) // it may have ended
	}
	started, err := pidfd.StartTime(init.PID)
	if init.PID <= 0 || err != nil {
		return // there is no telling whether it still runs
	}
	init.Started = started
	if err := nodecall.Save(nodecall.SavedDir, c.number, nodecall.Saved{Init: init, Repair: c.repair}); err != nil {
		c.node.Log(syslog.Warning, err.Error())
	}
}

// repairLost has the hook repair the containers that an earlier node had and this one has not.
func (n *Node) repairLost() {
	all, err := nodecall.AllSaved(nodecall.SavedDir)
	if err != nil {
		n.Log(syslog.Warning, err.Error())
	}
	var lost []uint64
	for number := range all {
		n.last = max(n.last, number)
		if n.containers[number] == nil {
			lost = append(lost, number)
		}
	}
	if len(lost) == 0 {
		return
	}
	slices.Sort(lost)
	n.Log(syslog.Notice, "repairs "+strconv.Itoa(len(lost))+" containers again, whose sockets were closed")
	if err := n.runHook(lost); err != nil {
		n.Log(syslog.Err, "cannot repair containers again: "+err.Error())
	}
}

// runHook runs the hook's program for the containers with these numbers, and reports its end.
func (n *Node) runHook(numbers []uint64) error {
	null, err := file.OpenNull()
	if err != nil {
		return err
	}
	defer null.Close()
	path := filepath.Join(filepath.Dir(n.Program), names.Hook)
	args := []string{path, names.RepairLost}
	for _, number := range numbers {
		args = append(args, "--container", strconv.FormatUint(number, 10))
	}
	pid, err := syscall.ForkExec(path, args, &syscall.ProcAttr{
		Dir: "/", Env: daemon.Env("TZ"), Files: []uintptr{null.Fd(), null.Fd(), os.Stderr.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return err
	}
	handle, err := pidfd.Open(pid)
	if err != nil {
		_, err = daemon.End(pid)
		return errors.Join(errors.New("there are no pidfds"), err)
	}
	return n.Process.Loop.Add(int(handle.Fd()), func() {
		_ = n.Process.Loop.Remove(int(handle.Fd()))
		_ = handle.Close()
		if status, err := daemon.Reap(pid); err != nil || status.ExitStatus() != 0 { // it has said why
			n.Log(syslog.Warning, "some containers could not be repaired again: their programs' messages are lost until devlog-hook repair")
		}
	})
}
