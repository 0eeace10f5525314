package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// startsEach is how many starts are measured in each repetition.
const startsEach = 10

// starts measures how long a start takes, compared with a Go program that does nothing.
func (w *place) starts(r *results) error {
	say("starts")
	dir := filepath.Join(workDir, "start")
	defer removeAll(dir)
	for range w.reps * startsEach {
		for _, p := range w.peers {
			args, err := p.prepare(dir)
			if err != nil {
				return err
			}
			socket, _ := files(dir)
			if err := w.startOnce(r, p.name, p.env, append([]string{socket}, args...)); err != nil {
				return err
			}
		}
		if err := w.startOnce(r, emptyTool, nil, []string{"-", filepath.Join(w.tools, emptyTool)}); err != nil {
			return err
		}
	}
	return nil
}

func (w *place) startOnce(r *results, name string, env, args []string) error {
	cmd := exec.Command(filepath.Join(w.tools, startTool), args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", cmd, err)
	}
	ns, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	if err != nil {
		return err
	}
	r.add(name, starting, map[string]float64{startTime: ns / 1e3})
	return nil
}

// rests measures idle receivers, all at the same time.
func (w *place) rests(r *results) error {
	say("idle for %v", w.idle)
	var all []*receiver
	for _, p := range w.peers {
		dir := filepath.Join(workDir, "idle-"+p.name)
		receiver, err := p.start(dir)
		if err != nil {
			return err
		}
		defer removeAll(dir)
		defer receiver.stop()
		all = append(all, receiver)
	}
	used, err := w.rest(all, w.idle)
	if err != nil {
		return err
	}
	for i, p := range w.peers {
		r.add(p.name, resting, map[string]float64{wakeups: used[i].wakeups, idleCPU: used[i].cpu.Seconds() * 1e3})
	}
	return nil
}

// usage is what a receiver used while it rested.
type usage struct {
	wakeups float64
	cpu     time.Duration
}

// rest watches receivers for a while.
func (w *place) rest(all []*receiver, d time.Duration) ([]usage, error) {
	time.Sleep(5 * w.settle) // the start is over
	now := func(factor float64, used []usage) error {
		for i, receiver := range all {
			n, err := receiver.wakeups()
			if err != nil {
				return err
			}
			c, err := receiver.cpu()
			if err != nil {
				return err
			}
			used[i].wakeups += factor * n
			used[i].cpu += time.Duration(factor) * c
		}
		return nil
	}
	used := make([]usage, len(all))
	if err := now(-1, used); err != nil {
		return nil, err
	}
	time.Sleep(d)
	return used, now(1, used)
}

// restOfAll watches receivers for a while. It returns what they used together, and the memory of
// each.
func (w *place) restOfAll(all []*receiver, d time.Duration) (sum map[string]float64, each []memory, err error) {
	used, err := w.rest(all, d)
	if err != nil {
		return nil, nil, err
	}
	sum = map[string]float64{wakeups: 0, idleCPU: 0, totalPrivate: 0, totalPSS: 0}
	for i, receiver := range all {
		m, err := receiver.memory()
		if err != nil {
			return nil, nil, err
		}
		sum[wakeups] += used[i].wakeups
		sum[idleCPU] += used[i].cpu.Seconds() * 1e3
		sum[totalPrivate] += m.Private
		sum[totalPSS] += m.PSS
		each = append(each, m)
	}
	return sum, each, nil
}
