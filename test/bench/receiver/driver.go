package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// driverName is podman's log driver for journald, beside devlogd's action journal: conmon sends
// what a container prints, a line an entry.
const driverName = "podman"

// drivers measures it with as many lines, of the same text, as actions has.
func (w *place) drivers(r *results) error {
	podman, err := exec.LookPath("podman")
	busybox, berr := exec.LookPath("busybox")
	if err != nil || berr != nil || !hasJournald() {
		return nil //nolint:nilerr // it is not on this machine
	}
	for rep := range w.reps {
		say("podman's driver, %d of %d", rep+1, w.reps)
		if err := w.driverOne(r, podman, busybox, actionLoad.scaled(w.scale)); err != nil {
			return fmt.Errorf("podman's driver: %w", err)
		}
	}
	return nil
}

func (w *place) driverOne(r *results, podman, busybox string, l load) error {
	defer removeAll(actionDir)
	root, pidFile := actionDir+"/root", actionDir+"/pid"
	gate := root + "/gate" // the container waits there before it prints, and afterwards
	if err := makeRoot(root, busybox, l); err != nil {
		return err
	}
	a := journal()
	daemon, err := a.start()
	if err != nil {
		return err
	}
	defer daemon.stop()
	global := []string{"--root", actionDir + "/storage", "--runroot", actionDir + "/run", "--storage-driver", "vfs", "--runtime", "runc",
		"--cgroup-manager", "cgroupfs", "--events-backend", "none"}
	if _, err := run(podman, append(global, "run", "--detach", "--name", "load", "--log-driver", "journald", "--conmon-pidfile", pidFile,
		"--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096", "--rootfs", root, "/busybox", "cat", "/gate", "/lines", "/gate")...); err != nil {
		return err
	}
	conmon, err := running(pidFile)
	if err != nil {
		return err
	}
	all := []*receiver{conmon, daemon}
	time.Sleep(w.settle)
	before, err := cpuOf(all)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := os.WriteFile(gate, nil, 0); err != nil { // opened and closed
		return err
	}
	end, after, err := atRest(all)
	if err != nil {
		return err
	}
	text, err := readJournal("CONTAINER_NAME=load")
	if err != nil {
		return err
	}
	c, n := count(text, l), float64(l.messages)
	r.add(driverName, actionPrefix+"journal", map[string]float64{
		rate: (n - float64(c.lost)) / end.Sub(begin).Seconds(),
		cpu:  (after[0] - before[0]).Seconds() * 1e6 / n, daemonCPU: (after[1] - before[1]).Seconds() * 1e6 / n,
		lost: float64(c.lost), disorder: float64(c.disorder),
	})
	_, err = run(podman, append(global, "rm", "--force", "--time", "0", "load")...)
	return err
}

// makeRoot makes a container's root directory, with the lines that it prints.
func makeRoot(root, busybox string, l load) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	program, err := os.ReadFile(busybox)
	if err == nil {
		err = os.WriteFile(root+"/busybox", program, 0o755)
	}
	if err == nil {
		err = unix.Mkfifo(root+"/gate", 0o600)
	}
	if err != nil {
		return err
	}
	var b strings.Builder
	for k := range l.messages {
		line := fmt.Sprintf("run 0 %d ", k)
		b.WriteString(line + strings.Repeat("x", l.bytes-headLen-len(line)-1) + ".\n")
	}
	return os.WriteFile(root+"/lines", []byte(b.String()), 0o644)
}

// running is the process whose ID is in a file.
func running(pidFile string) (*receiver, error) {
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return nil, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(pidFile), err)
	}
	process, err := os.FindProcess(pid)
	return &receiver{cmd: &exec.Cmd{Path: "conmon", Process: process}}, err
}
