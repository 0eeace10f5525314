package main

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

// crowd are the peers of which many run at the same time. The others are not made for that.
var crowd = []string{ownName, "busybox"}

// crowdLoad is sent to the quiet receivers of a crowd in turn.
var crowdLoad = load{senders: 1, messages: 5_000, bytes: 120, rate: 1000}

// flood is sent to one of them meanwhile. It is stopped long before the end.
var flood = load{senders: 1, messages: 10_000_000, bytes: 120}

// many measures many receivers together: at rest, with a few messages each, and with these while one
// of them is flooded.
func (w *place) many(r *results) error {
	for _, p := range w.peers {
		if slices.Contains(crowd, p.name) {
			if err := w.manyOf(r, p); err != nil {
				return fmt.Errorf("%d times %s: %w", w.receivers, p.name, err)
			}
		}
	}
	return nil
}

func (w *place) manyOf(r *results, p peer) error {
	say("%d times %s", w.receivers, p.name)
	top := filepath.Join(workDir, "many")
	if err := os.Mkdir(top, 0o755); err != nil {
		return err
	}
	defer removeAll(top)
	var all []*receiver
	for i := range w.receivers {
		receiver, err := p.start(filepath.Join(top, strconv.Itoa(i)))
		if err != nil {
			return err
		}
		defer receiver.stop()
		all = append(all, receiver)
	}
	sum, each, err := w.restOfAll(all, w.idle/4)
	if err != nil {
		return err
	}
	for _, m := range each {
		r.add(p.name, crowded, map[string]float64{private: m.Private})
	}
	r.add(p.name, crowded, sum)
	for range w.reps {
		if err := w.crowdOnce(r, p, top, all, false); err != nil {
			return err
		}
		if err := w.crowdOnce(r, p, top, all, true); err != nil {
			return err
		}
	}
	return nil
}

// crowdOnce sends to all receivers but the first in turn. flooded says that the first is flooded.
func (w *place) crowdOnce(r *results, p peer, top string, all []*receiver, flooded bool) error {
	names := []string{quietP99, quietLog}
	if flooded {
		names = []string{besideP99, besideLog}
		cmd := exec.Command(filepath.Join(w.tools, loadTool), flood.args(top+"/flood", all[0].socket)...)
		if err := cmd.Start(); err != nil {
			return err
		}
		defer func() {
			_ = cmd.Process.Kill() // its sender ends with it
			_ = cmd.Wait()
			_ = os.Truncate(all[0].log, 0) // it uses memory
		}()
	}
	l := crowdLoad.scaled(w.scale)
	l.messages = max(l.messages, 2*len(all))
	var targets []string
	for _, receiver := range all[1:] {
		// A receiver that has written nothing may have no log yet.
		f, err := os.OpenFile(receiver.log, os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			return err
		}
		f.Close()
		targets = append(targets, receiver.socket+","+receiver.log)
	}
	out := top + "/took"
	if _, err := run(filepath.Join(w.tools, loadTool), l.args(out, targets...)...); err != nil {
		return err
	}
	times, err := readTimes(out)
	if err != nil {
		return err
	}
	took, arrived := times[:l.messages], times[l.messages:]
	if i := slices.Index(arrived, math.MaxUint32); i >= 0 {
		return fmt.Errorf("message %d does not arrive", i)
	}
	slices.Sort(took)
	slices.Sort(arrived)
	r.add(p.name, crowded, map[string]float64{names[0]: quantile(took, 0.99) / 1e3, names[1]: quantile(arrived, 0.99) / 1e3})
	return nil
}
