package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// action is an action of a rule.
type action struct {
	name string
	rule string // for the log
	// daemon returns the command line of the host's daemon that receives, for a directory with a
	// file conf; nil for none. socket is where it listens.
	daemon func(dir string) []string
	env    []string
	conf   string
	socket string
	// written returns what has arrived: lines such as "]: run 0 1 xxx.".
	written func(log string) ([]byte, error)
}

// Where journald and syslogd listen, and the name of the daemon's own quantity.
const (
	journaldSocket = "/run/systemd/journal/socket"
	syslogdSocket  = "/run/systemd/journal/dev-log"
	daemonCPU      = "daemon's CPU µs a message"
)

const journaldConf = "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nRuntimeMaxUse=2G\nRuntimeMaxFileSize=1G\nRuntimeKeepFree=1M\nForwardToSyslog=no\nReadKMsg=no\nAudit=no\n"

// actions returns the actions that can be measured on this machine.
func actions() []action {
	list := []action{{name: "file", rule: "*.* -%s", written: os.ReadFile}}
	if hasJournald() {
		list = append(list, journal())
	}
	if program, env, modules := find("rsyslogd", "rsyslog/imuxsock.so"); program != "" {
		list = append(list, action{
			name: "syslog", rule: "*.* syslog", socket: syslogdSocket, env: env, written: os.ReadFile,
			conf: fmt.Sprintf("module(load=\"imuxsock\" SysSock.Use=\"off\")\ninput(type=\"imuxsock\" Socket=%q)\n*.* action(type=\"omfile\" file=%q)\n", syslogdSocket, actionDir+"/log"),
			daemon: func(dir string) []string {
				return append([]string{program, "-n", "-f", dir + "/conf", "-i", dir + "/pid"}, options("-M", modules)...)
			},
		})
	}
	return list
}

const journald = "/lib/systemd/systemd-journald"

func hasJournald() bool {
	_, err := os.Stat(journald)
	return err == nil
}

func journal() action {
	return action{
		name: "journal", rule: "*.* journal", socket: journaldSocket, conf: journaldConf,
		daemon:  func(string) []string { return []string{journald} },
		written: func(string) ([]byte, error) { return readJournal("SYSLOG_IDENTIFIER=load") },
	}
}

// readJournal returns the messages of entries with this field.
func readJournal(match string) ([]byte, error) {
	text, err := run("journalctl", "-D", "/run/log/journal", "-q", "-o", "cat", match)
	return []byte(strings.ReplaceAll(text, "run ", "]: run ")), err
}

var (
	actionLoad = load{name: "action", senders: 1, messages: 100_000, bytes: 120}
	actionDir  = filepath.Join(workDir, "action")
)

// actions measures devlogd's rule actions in turn, each with the daemon that it sends to, under a
// flood for which senders wait.
func (w *place) actions(r *results) error {
	for rep := range w.reps {
		say("actions, %d of %d", rep+1, w.reps)
		for _, a := range actions() {
			if err := w.actionOne(r, a, actionLoad.scaled(w.scale)); err != nil {
				return fmt.Errorf("action %s: %w", a.name, err)
			}
		}
	}
	return nil
}

func (w *place) actionOne(r *results, a action, l load) error {
	devlogd := peer{name: ownName, args: func(_, socket, log string) []string {
		return []string{w.devlogd, "--listen", socket, "--rule", strings.ReplaceAll(a.rule, "%s", log)}
	}}
	own, err := devlogd.start(actionDir)
	if err != nil {
		return err
	}
	defer removeAll(actionDir)
	defer own.stop()
	all := []*receiver{own}
	if a.daemon != nil {
		daemon, err := a.start()
		if err != nil {
			return err
		}
		defer daemon.stop()
		all = append(all, daemon)
	}
	time.Sleep(w.settle)
	before, err := cpuOf(all)
	if err != nil {
		return err
	}
	begin, _, _, err := w.send(l, actionDir, own.socket)
	if err != nil {
		return err
	}
	end, after, err := atRest(all)
	if err != nil {
		return err
	}
	text, err := a.written(actionDir + "/log")
	if err != nil {
		return err
	}
	c, n := count(text, l), float64(l.senders*l.messages)
	values := map[string]float64{
		rate: (n - float64(c.lost)) / end.Sub(begin).Seconds(),
		cpu:  (after[0] - before[0]).Seconds() * 1e6 / n,
		lost: float64(c.lost), disorder: float64(c.disorder),
	}
	if a.daemon != nil {
		values[daemonCPU] = (after[1] - before[1]).Seconds() * 1e6 / n
	}
	r.add(ownName, actionPrefix+a.name, values)
	return nil
}

// actionPrefix begins the names of the loads of actions.
const actionPrefix = "action "

// start starts the daemon and waits until it listens.
func (a *action) start() (*receiver, error) {
	removeAll("/run/log") // from an earlier daemon
	for _, dir := range []string{filepath.Dir(a.socket), "/run/log", "/run/systemd/journald.conf.d"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	for _, file := range []string{actionDir + "/conf", "/run/systemd/journald.conf.d/bench.conf"} {
		if err := os.WriteFile(file, []byte(a.conf), 0o644); err != nil {
			return nil, err
		}
	}
	_ = os.Remove(a.socket) // of an earlier daemon
	args := a.daemon(actionDir)
	d := &receiver{cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	d.cmd.Env = append(os.Environ(), a.env...)
	d.cmd.Stdout, d.cmd.Stderr = &d.said, &d.said
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = d.cmd.Wait() // cmd.ProcessState has the result
		close(d.ended)
	}()
	for begin := time.Now(); !takes(a.socket); time.Sleep(time.Millisecond) {
		if time.Since(begin) > patience {
			d.stop()
			return nil, fmt.Errorf("%s: nobody listens at %s after %v\n%s", d.cmd, a.socket, patience, &d.said)
		}
	}
	return d, nil
}

func cpuOf(all []*receiver) (times []time.Duration, err error) {
	for _, p := range all {
		t, err := p.cpu()
		if err != nil {
			return nil, err
		}
		times = append(times, t)
	}
	return times, nil
}

// atRest waits until none of the processes has used a processor for half a second. It returns when
// one last did, and how much each has used by then.
func atRest(all []*receiver) (last time.Time, used []time.Duration, err error) {
	last = time.Now()
	for time.Since(last) < 500*time.Millisecond {
		now, err := cpuOf(all)
		if err != nil {
			return last, nil, err
		}
		for i, t := range now {
			if used == nil || t-used[i] > 100*time.Microsecond {
				last, used = time.Now(), now
				break
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	return last, used, nil
}

// writeActions writes the table of actions, if there are figures.
func writeActions(b *strings.Builder, r *results) {
	rows := [][]string{{"action, flood of 1 sender", "to", "messages/s (lowest to highest)", "CPU a message: devlogd", "the daemon", "lost, out of order"}}
	for _, a := range []struct{ who, name, to string }{{ownName, "file", ""}, {ownName, "journal", "systemd-journald"}, {driverName, "journal", "systemd-journald"}, {ownName, "syslog", "rsyslog"}} {
		q := r.Values[a.who][actionPrefix+a.name]
		if q == nil {
			continue
		}
		if a.who == driverName {
			a.name = "podman's driver (conmon)"
		}
		daemon := ""
		if d := q[daemonCPU]; d != nil {
			daemon = fmt.Sprintf("%.2f µs", d.Median)
		}
		rows = append(rows, []string{
			a.name, a.to, fmt.Sprintf("%.0f (%.0f to %.0f)", q[rate].Median, q[rate].Min, q[rate].Max),
			fmt.Sprintf("%.2f µs", q[cpu].Median), daemon, fmt.Sprintf("%.0f, %.0f", q[lost].Max, q[disorder].Max),
		})
	}
	if len(rows) > 1 {
		writeTable(b, rows)
	}
}
