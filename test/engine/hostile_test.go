package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// attack repairs and undoes from the host, with every strategy.
func attack(t *testing.T, c *host.Cheap, what string) {
	t.Helper()
	for _, strategy := range []string{"auto", "adopt", "bind"} {
		host.Sensible(t, c.Hook(false, "repair", "--no-auto-repair", "--strategy", strategy), what+": repair "+strategy)
		host.Sensible(t, c.Hook(false, "undo"), what+": undo "+strategy)
	}
	if r := c.Hook(false, "check"); r.Code == 2 || r.Code < 0 {
		t.Errorf("%s: check: %+v", what, r)
	}
}

// A container in which the names that a repair uses are links out of it.
func TestEngineHostileLinks(t *testing.T) {
	h := host.NewVictim(t)
	before := host.Guarded(t, h)
	n := 0
	for _, to := range []string{
		host.Sentinel, "../../../../../../../.." + host.Sentinel, "/proc/1/root" + host.Sentinel, "/proc/self/cwd", "/proc/self/fd/3",
	} {
		for _, o := range []host.CheapOptions{
			{Run: "rmdir run; ln -s " + to + " run"},
			{Run: "mkdir -p run var; rmdir run; ln -s var/run run; ln -s " + to + " var/run"},
			{After: "ln -s " + to + " /run/devlog"},
			{After: "mkdir /run/devlog; ln -s " + to + "/file /run/devlog/log; ln -s " + to + "/file /run/devlog/.devlog-repair"},
			{After: "mkdir /run/devlog; ln -s " + to + "/file /run/devlog/.devlog-link"},
			{Dev: "rmdir dev; ln -s " + to + " dev"},
			{Dev: "mount -n -t tmpfs dev dev; ln -s " + to + "/log dev/log"},
			{Dev: "mount -n -t tmpfs dev dev; ln -s " + to + "/devlog/../empty/log dev/log"},
			{After: "rm -rf /etc; ln -s " + to + " /etc"},
		} {
			o.Dev, o.Run, o.After = bb(o.Dev), bb(o.Run), bb(o.After)
			n++
			c := host.NewCheap(t, h, fmt.Sprintf("c%d", n), o)
			attack(t, c, fmt.Sprintf("%+v", o))
			c.Stop()
		}
		host.ExpectReceiversEnd(t, h)
		host.ExpectWorld(t, before, host.Guarded(t, h))
	}
}

// bb makes a script run its commands by busybox.
func bb(script string) string { return strings.ReplaceAll(script, "rmdir ", "busybox rmdir ") }

// A container that swaps names while it is repaired.
func TestEngineHostileRace(t *testing.T) {
	const each = 10 * time.Second
	for _, s := range []struct {
		name, script string // the script makes both names
		a, b         string // what is swapped
		dev          string
	}{
		{"directory of the socket", "mkdir /run/devlog; ln -s ../../../../.." + host.Sentinel + "/devlog /run/evil", "/run/devlog", "/run/evil", ""},
		{"run", "mkdir /x; ln -s /proc/1/root" + host.Sentinel + " /evil", "/x", "/evil", ""},
		{"log", "ln -s /run/x/log /dev/log; ln -s ../../../../.." + host.Sentinel + "/file /dev/evil", "/dev/log", "/dev/evil", "mount -n -t tmpfs dev dev"},
		{"record", "mkdir /run/devlog; echo '{}' >/run/devlog/.devlog-repair; ln -s " + host.Sentinel + "/file /run/devlog/evil",
			"/run/devlog/.devlog-repair", "/run/devlog/evil", ""},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			h := host.NewVictim(t)
			before := host.Guarded(t, h)
			o := host.CheapOptions{After: s.script, Dev: s.dev}
			if s.name == "run" {
				o.Run = "busybox rmdir run; ln -s x run"
			}
			c := host.NewCheap(t, h, "racer", o)
			stop := swapping(t, c.Path(s.a), c.Path(s.b))
			n := 0
			for limit := time.Now().Add(each); time.Now().Before(limit); n++ {
				for _, args := range [][]string{{"repair", "--no-auto-repair"}, {"undo"}, {"repair", "--no-auto-repair", "--strategy", "bind"}, {"undo"}} {
					host.Sensible(t, c.Hook(false, args...), fmt.Sprint(args))
				}
			}
			t.Logf("%d rounds, %d swaps", n, stop())
			c.Stop()
			host.ExpectReceiversEnd(t, h)
			host.ExpectWorld(t, before, host.Guarded(t, h))
		})
	}
}

// A check starts again if /dev/log was replaced meanwhile.
func TestEngineCheckMeanwhile(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	c := host.NewCheap(t, h, "racer", host.CheapOptions{After: "echo >/dev/log; ln -s /run/x/log /dev/other"})
	ctx, cancel := context.WithCancel(context.Background())
	log, other := c.Path("/dev/log"), c.Path("/dev/other")
	var racer sync.WaitGroup
	racer.Add(1)
	go func() {
		defer racer.Done()
		for every := time.NewTicker(time.Millisecond); ctx.Err() == nil; <-every.C { // not in each try
			if err := unix.Renameat2(unix.AT_FDCWD, log, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for range 100 {
		if r := c.Hook(false, "check"); strings.Contains(r.ErrOut, "changed during") {
			t.Errorf("check: %+v", r)
			break
		}
	}
	cancel()
	racer.Wait()
}

// swapping swaps two names as fast as it can until stop is called.
func swapping(t *testing.T, a, b string) (stop func() (swaps int)) {
	t.Helper()
	done := make(chan struct{})
	var racer sync.WaitGroup
	swaps := 0
	racer.Add(1)
	go func() {
		defer racer.Done()
		for {
			select {
			case <-done:
				return
			default:
				if unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE) == nil {
					swaps++
				}
			}
		}
	}()
	return func() int {
		t.Helper()
		close(done)
		racer.Wait()
		if swaps < 100 {
			t.Errorf("only %d swaps", swaps)
		}
		return swaps
	}
}

// started is field 22 of a process's /proc/PID/stat.
func started(t *testing.T, h *host.Host, pid int) string {
	t.Helper()
	f := h.Stat(pid)
	if f == nil {
		t.Fatalf("process %d has gone", pid)
	}
	return f[19]
}

// A container that forges the record of its repair.
func TestEngineHostileRecord(t *testing.T) {
	h := host.NewVictim(t)
	ctx, cancel := context.WithCancel(context.Background())
	victim := h.Command(ctx, "sleep", "1000")
	host.Check(t, victim.Start())
	t.Cleanup(func() { cancel(); _ = victim.Wait() }) // killed in the end, or with its host
	var victimPID int
	host.Eventually(t, "the victim runs", func() bool {
		for _, p := range h.Processes() {
			if strings.HasSuffix(p, " sleep 1000") {
				_, err := fmt.Sscan(p, &victimPID)
				return err == nil
			}
		}
		return false
	})
	other := host.NewCheap(t, h, "other", host.CheapOptions{})
	if r := other.Hook(false, "repair", "--no-auto-repair"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	others := h.Receivers()
	before := host.Guarded(t, h)
	c := host.NewCheap(t, h, "forger", host.CheapOptions{After: "mkdir /run/devlog"})
	ours := host.Number(t, h, c.PID, "mnt")
	forge := func(pid int, more map[string]any) string {
		m := map[string]any{"mount_ns": ours, "receiver": pid, "pid_ns": host.Number(t, h, pid, "pid"), "started": started(t, h, pid),
			"was": "absent", "socket": "/run/devlog/log"}
		for k, v := range more {
			m[k] = v
		}
		text, err := json.Marshal(m)
		host.Check(t, err)
		return string(text)
	}
	far := strings.Repeat("../", 12)
	records := map[string]string{
		"pid 1":              forge(1, nil),
		"a host process":     forge(victimPID, nil),
		"another's receiver": forge(others[0], nil),
		"a negative process": forge(1, map[string]any{"receiver": -1}),
		"another's, inside":  forge(others[0], map[string]any{"pid_ns": host.Number(t, h, c.PID, "pid")}),
		"made":               forge(1, map[string]any{"made": []string{"/etc", "/", "..", far + host.Sentinel + "/empty", host.Sentinel + "/empty", "/proc/1/root" + host.Sentinel + "/empty"}}),
		"tmpfs":              forge(1, map[string]any{"tmpfs": "/etc", "mounted": true}),
		"renamed is a path":  forge(1, map[string]any{"renamed": far + host.Sentinel + "/file", "set": "/run/devlog/log"}),
		"renamed":            forge(1, map[string]any{"renamed": true, "set": "/run/devlog/log"}),
		"socket":             forge(1, map[string]any{"socket": far + host.Sentinel + "/file"}),
		"host":               forge(1, map[string]any{"host": true, "set": "/run/devlog/log"}),
		"set":                forge(1, map[string]any{"set": "/run/devlog/log", "was": "link", "was_link": host.Sentinel + "/file"}),
		"not JSON":           "\x00\x01{{{",
		"another type":       `{"mount_ns":"x","receiver":[1]}`,
		"huge":               `{"made":["` + strings.Repeat("a", 1<<20) + `"]}`,
		"empty":              "",
	}
	at := c.Path("/run/devlog/.devlog-repair")
	for name, text := range records {
		host.Check(t, os.WriteFile(at, []byte(text), 0o644))
		host.Sensible(t, c.Hook(false, "repair", "--no-auto-repair"), name+": repair")
		host.Sensible(t, c.Hook(false, "undo"), name+": undo")
		host.Check(t, os.MkdirAll(filepath.Dir(at), 0o755))
		host.Check(t, os.WriteFile(at, []byte(text), 0o644))
		host.Sensible(t, c.Hook(false, "undo"), name+": undo alone")
		host.Check(t, os.MkdirAll(filepath.Dir(at), 0o755))
		if got := h.Receivers(); !slices.Equal(got, others) {
			t.Errorf("%s: receivers are %v, were %v", name, got, others)
		}
		if _, err := os.Stat(h.Path(fmt.Sprintf("/proc/%d/exe", victimPID))); err != nil {
			t.Fatalf("%s: the host's process has ended: %v", name, err)
		}
	}
	for name, make := range map[string]func() error{
		"FIFO":      func() error { return unix.Mkfifo(at, 0o666) },
		"device":    func() error { return unix.Mknod(at, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))) },
		"directory": func() error { return os.Mkdir(at, 0o755) },
		"link":      func() error { return os.Symlink(host.Sentinel+"/file", at) },
	} {
		host.Check(t, os.RemoveAll(filepath.Dir(at)))
		host.Check(t, os.MkdirAll(filepath.Dir(at), 0o755))
		host.Check(t, make())
		attack(t, c, name)
	}
	host.ExpectWorld(t, before, host.Guarded(t, h))
	other.WantSent(t, other.Log(false), "still-there")
	c.Stop()
	other.Stop()
	h.Must("kill", fmt.Sprint(victimPID))
	host.ExpectReceiversEnd(t, h)
}
