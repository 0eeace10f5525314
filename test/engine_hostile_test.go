package test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sentinel is a directory of the host that a hostile container would like to
// have something done to.
const sentinel = "/run/sentinel"

// guarded is all on the host that a hostile container must not get changed.
func guarded(t *testing.T, h *Host) world {
	t.Helper()
	w := world{host: snap(t, h.Path("/"), "/dev", "/run", "/etc"), hostMounts: table(t, h, 1)}
	// The root directory is the machine's, where others may make what they
	// like: only what a repair led astray could make counts.
	for _, name := range []string{"devlog", "log", "file", "empty", ".devlog-repair", ".devlog-link", "evil", "x"} {
		if _, err := os.Lstat(h.Path("/" + name)); err == nil {
			w.host = append(w.host, "top 0:0 /"+name)
		}
	}
	return w
}

// newVictim is a host with a live daemon, and a sentinel.
func newVictim(t *testing.T) *Host {
	t.Helper()
	needContainers(t)
	h := NewHost(t)
	liveSocket(t, h)
	h.Must("mkdir", "-p", sentinel+"/devlog", sentinel+"/empty")
	h.Must("touch", sentinel+"/file", sentinel+"/devlog/log")
	return h
}

// sensible fails unless a command has ended as it may where it is attacked: not
// by a crash or a usage error, and with one line; a repair adds where the
// messages go.
func sensible(t *testing.T, r Result, what string) {
	t.Helper()
	said, _, _ := strings.Cut(r.Out+r.ErrOut, "messages go to ")
	if !slices.Contains([]int{0, 3, 4}, r.Code) || strings.Count(said, "\n") != 1 {
		t.Errorf("%s: %+v", what, r)
	}
}

// attack repairs and undoes from the host, with every strategy.
func attack(t *testing.T, c *Cheap, what string) {
	t.Helper()
	for _, strategy := range []string{"auto", "adopt", "bind"} {
		sensible(t, c.Hook(false, "repair", "--no-heal", "--strategy", strategy), what+": repair "+strategy)
		sensible(t, c.Hook(false, "undo"), what+": undo "+strategy)
	}
	if r := c.Hook(false, "check"); r.Code == 2 || r.Code < 0 {
		t.Errorf("%s: check: %+v", what, r)
	}
}

// A container in which the names that a repair uses are links out of it.
func TestEngineHostileLinks(t *testing.T) {
	h := newVictim(t)
	before := guarded(t, h)
	n := 0
	for _, to := range []string{
		sentinel, "../../../../../../../.." + sentinel, "/proc/1/root" + sentinel, "/proc/self/cwd", "/proc/self/fd/3",
	} {
		for _, o := range []cheapOptions{
			{run: "rmdir run; ln -s " + to + " run"},
			{run: "mkdir -p run var; rmdir run; ln -s var/run run; ln -s " + to + " var/run"},
			{after: "ln -s " + to + " /run/devlog"},
			{after: "mkdir /run/devlog; ln -s " + to + "/file /run/devlog/log; ln -s " + to + "/file /run/devlog/.devlog-repair"},
			{after: "mkdir /run/devlog; ln -s " + to + "/file /run/devlog/.devlog-link"},
			{dev: "rmdir dev; ln -s " + to + " dev"},
			{dev: "mount -n -t tmpfs dev dev; ln -s " + to + "/log dev/log"},
			{dev: "mount -n -t tmpfs dev dev; ln -s " + to + "/devlog/../empty/log dev/log"},
			{after: "rm -rf /etc; ln -s " + to + " /etc"},
		} {
			o.dev, o.run, o.after = bb(o.dev), bb(o.run), bb(o.after)
			n++
			c := NewCheap(t, h, fmt.Sprintf("c%d", n), o)
			attack(t, c, fmt.Sprintf("%+v", o))
			c.Stop()
		}
		expectReceiversEnd(t, h)
		expectWorld(t, before, guarded(t, h))
	}
}

// bb makes a script use busybox for what may not be an applet of its own.
func bb(script string) string { return strings.ReplaceAll(script, "rmdir ", "busybox rmdir ") }

// A container that swaps names while it is repaired.
func TestEngineHostileRace(t *testing.T) {
	const each = 10 * time.Second
	for _, s := range []struct {
		name, script string // the script makes both names
		a, b         string // what is swapped
		dev          string
	}{
		{"directory of the socket", "mkdir /run/devlog; ln -s ../../../../.." + sentinel + "/devlog /run/evil", "/run/devlog", "/run/evil", ""},
		{"run", "mkdir /x; ln -s /proc/1/root" + sentinel + " /evil", "/x", "/evil", ""},
		{"log", "ln -s /run/x/log /dev/log; ln -s ../../../../.." + sentinel + "/file /dev/evil", "/dev/log", "/dev/evil", "mount -n -t tmpfs dev dev"},
		{"record", "mkdir /run/devlog; echo '{}' >/run/devlog/.devlog-repair; ln -s " + sentinel + "/file /run/devlog/evil",
			"/run/devlog/.devlog-repair", "/run/devlog/evil", ""},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			h := newVictim(t)
			before := guarded(t, h)
			o := cheapOptions{after: s.script, dev: s.dev}
			if s.name == "run" {
				o.run = "busybox rmdir run; ln -s x run"
			}
			c := NewCheap(t, h, "racer", o)
			stop := swapping(t, c.Path(s.a), c.Path(s.b))
			n := 0
			for limit := time.Now().Add(each); time.Now().Before(limit); n++ {
				for _, args := range [][]string{{"repair", "--no-heal"}, {"undo"}, {"repair", "--no-heal", "--strategy", "bind"}, {"undo"}} {
					sensible(t, c.Hook(false, args...), fmt.Sprint(args))
				}
			}
			t.Logf("%d rounds, %d swaps", n, stop())
			c.Stop()
			expectReceiversEnd(t, h)
			expectWorld(t, before, guarded(t, h))
		})
	}
}

// swapping swaps two names as fast as it can until stop is called.
func swapping(t *testing.T, a, b string) (stop func() (swaps int)) {
	t.Helper()
	done := make(chan struct{})
	var racer sync.WaitGroup
	swaps := 0
	racer.Go(func() {
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
	})
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

// number is the number of a process's namespace.
func number(t *testing.T, h *Host, pid int, kind string) uint64 {
	t.Helper()
	st, err := os.Stat(h.Path(fmt.Sprintf("/proc/%d/ns/%s", pid, kind)))
	check(t, err)
	return st.Sys().(*syscall.Stat_t).Ino
}

// started is field 22 of a process's /proc/PID/stat.
func started(t *testing.T, h *Host, pid int) string {
	t.Helper()
	f := h.stat(pid)
	if f == nil {
		t.Fatalf("process %d has gone", pid)
	}
	return f[19]
}

// A container that forges the record of its repair.
func TestEngineHostileRecord(t *testing.T) {
	h := newVictim(t)
	ctx, cancel := context.WithCancel(context.Background())
	victim := h.Command(ctx, "sleep", "1000")
	check(t, victim.Start())
	t.Cleanup(func() { cancel(); _ = victim.Wait() }) // killed in the end, or with its host
	var victimPID int
	eventually(t, "the victim runs", func() bool {
		for _, p := range h.Processes() {
			if strings.HasSuffix(p, " sleep 1000") {
				_, err := fmt.Sscan(p, &victimPID)
				return err == nil
			}
		}
		return false
	})
	other := NewCheap(t, h, "other", cheapOptions{})
	if r := other.Hook(false, "repair", "--no-heal"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	others := h.Receivers()
	before := guarded(t, h)
	c := NewCheap(t, h, "forger", cheapOptions{after: "mkdir /run/devlog"})
	ours := number(t, h, c.PID, "mnt")
	forge := func(pid int, more map[string]any) string {
		m := map[string]any{"mount_ns": ours, "receiver": pid, "pid_ns": number(t, h, pid, "pid"), "started": started(t, h, pid),
			"was": "absent", "socket": "/run/devlog/log"}
		for k, v := range more {
			m[k] = v
		}
		text, err := json.Marshal(m)
		check(t, err)
		return string(text)
	}
	far := strings.Repeat("../", 12)
	records := map[string]string{
		"pid 1":              forge(1, nil),
		"a host process":     forge(victimPID, nil),
		"another's receiver": forge(others[0], nil),
		"a negative process": forge(1, map[string]any{"receiver": -1}),
		"another's, inside":  forge(others[0], map[string]any{"pid_ns": number(t, h, c.PID, "pid")}),
		"made":               forge(1, map[string]any{"made": []string{"/etc", "/", "..", far + sentinel + "/empty", sentinel + "/empty", "/proc/1/root" + sentinel + "/empty"}}),
		"tmpfs":              forge(1, map[string]any{"tmpfs": "/etc", "mounted": true}),
		"renamed is a path":  forge(1, map[string]any{"renamed": far + sentinel + "/file", "set": "/run/devlog/log"}),
		"renamed":            forge(1, map[string]any{"renamed": true, "set": "/run/devlog/log"}),
		"socket":             forge(1, map[string]any{"socket": far + sentinel + "/file"}),
		"host":               forge(1, map[string]any{"host": true, "set": "/run/devlog/log"}),
		"set":                forge(1, map[string]any{"set": "/run/devlog/log", "was": "link", "was_link": sentinel + "/file"}),
		"not JSON":           "\x00\x01{{{",
		"another type":       `{"mount_ns":"x","receiver":[1]}`,
		"huge":               `{"made":["` + strings.Repeat("a", 1<<20) + `"]}`,
		"empty":              "",
	}
	at := c.Path("/run/devlog/.devlog-repair")
	for name, text := range records {
		check(t, os.WriteFile(at, []byte(text), 0o644))
		sensible(t, c.Hook(false, "repair", "--no-heal"), name+": repair")
		sensible(t, c.Hook(false, "undo"), name+": undo")
		check(t, os.MkdirAll(filepath.Dir(at), 0o755))
		check(t, os.WriteFile(at, []byte(text), 0o644))
		sensible(t, c.Hook(false, "undo"), name+": undo alone")
		check(t, os.MkdirAll(filepath.Dir(at), 0o755))
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
		"link":      func() error { return os.Symlink(sentinel+"/file", at) },
	} {
		check(t, os.RemoveAll(filepath.Dir(at)))
		check(t, os.MkdirAll(filepath.Dir(at), 0o755))
		check(t, make())
		attack(t, c, name)
	}
	expectWorld(t, before, guarded(t, h))
	other.wantSent(t, other.Log(false), "still-there")
	c.Stop()
	other.Stop()
	h.Must("kill", fmt.Sprint(victimPID))
	expectReceiversEnd(t, h)
}
