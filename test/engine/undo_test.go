package engine

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"devlog/test/host"
)

// undoCase is a state of the host and a repair that can be made there.
type undoCase struct {
	name  string
	make  func(t *testing.T, h *host.Host) // the host's /dev/log
	flags []string                         // of the repair
	// prepare is a repair of the host that is done first.
	prepare bool
	// by is what the repair reports; inside is the same for a repair in the container, if
	// it differs.
	by, inside string
	dev, run   string // of the container
}

// may are names that may be left after an undo.
func (u undoCase) may() []string {
	if strings.Contains(u.run, "rbind") { // the host's /run: made for the container, and used for the host
		return []string{"/run/devlog"}
	}
	return nil
}

func danglingLink(t *testing.T, h *host.Host) {
	host.Check(t, os.Symlink("/run/systemd/journal/dev-log", h.Path("/dev/log")))
}

func nothing(*testing.T, *host.Host) {}

var undoCases = []undoCase{
	{name: "adopt/journal", make: host.Journal, by: "adopt"},
	{name: "adopt/dangling", make: danglingLink, by: "adopt"},
	{name: "symlink/absent", make: nothing, by: "symlink", inside: "bind"},
	{name: "symlink/stale", make: host.StaleSocket, by: "symlink", inside: "bind"},
	{name: "symlink/dangling", make: danglingLink, flags: []string{"--strategy", "symlink"}, by: "symlink"},
	{name: "symlink/aside", make: func(t *testing.T, h *host.Host) { host.Check(t, os.Mkdir(h.Path("/dev/log"), 0o700)) },
		flags: []string{"--force"}, by: "symlink", inside: "bind"},
	{name: "bind/live", make: host.LiveSocket, by: "bind"},
	{name: "bind/stale", make: host.StaleSocket, flags: []string{"--strategy", "bind"}, by: "bind"},
	{name: "bind/dangling", make: danglingLink, flags: []string{"--strategy", "bind"}, by: "bind"},
	{name: "adopt/prepared", make: host.LiveSocket, prepare: true, by: "adopt"},
	{name: "tmpfs/host's run", make: nothing, run: "mount -n --rbind /run run", by: "symlink", inside: "bind"},
	{name: "tmpfs/empty read-only run", make: nothing, run: "mount -n -t tmpfs -o ro run run", by: "symlink", inside: "bind"},
	{name: "tmpfs/over bind", make: host.LiveSocket, run: "mount -n --rbind /run run", by: "bind"},
}

// eachUndo runs a test for each strategy, from inside and from the host.
func eachUndo(t *testing.T, test func(t *testing.T, h *host.Host, c *host.Cheap, inside bool, u undoCase)) {
	for _, u := range undoCases {
		for _, inside := range []bool{true, false} {
			where := map[bool]string{true: "inside", false: "pid"}[inside]
			t.Run(u.name+"/"+where, func(t *testing.T) {
				host.NeedContainers(t)
				h := host.NewHost(t)
				u.make(t, h)
				if u.prepare {
					h.Must(host.HookOn(), "repair", "--host")
				}
				test(t, h, host.NewCheap(t, h, "c1", host.CheapOptions{Dev: u.dev, Run: u.run}), inside, u)
			})
		}
	}
}

// Undo restores what was there, after the receiver has written its messages. Then there is
// nothing more to undo.
func TestEngineUndo(t *testing.T) {
	eachUndo(t, func(t *testing.T, h *host.Host, c *host.Cheap, inside bool, u undoCase) {
		before := host.Look(t, h, c)
		for round := range 2 { // a repair after an undo works as the first did
			r := c.Hook(inside, append([]string{"repair", "--no-auto-repair"}, u.flags...)...)
			by := u.by
			if inside && u.inside != "" {
				by = u.inside
			}
			if r.Code != 0 || !strings.HasPrefix(r.Out, "repaired by "+by+":") {
				t.Fatalf("repair: %+v, want %s", r, by)
			}
			if r := c.Hook(inside, "check"); r.Code != 0 {
				t.Errorf("check after the repair: %+v", r)
			}
			c.Sh(fmt.Sprintf("client -n 500 b 13 round-%d", round)) // more than the receiver has written when the undo begins
			host.ExpectUndone(t, h, c, inside, before, u.may()...)
			var want []string
			for i := 1; i <= 500; i++ {
				want = append(want, fmt.Sprintf("round-%d %d.", round, i))
			}
			host.WantOnce(t, c.Log(inside), want...)
		}
	})
}

// The same after the receiver was killed: its socket is stale, and its record names no process.
func TestEngineUndoAfterKill(t *testing.T) {
	eachUndo(t, func(t *testing.T, h *host.Host, c *host.Cheap, inside bool, u undoCase) {
		before := host.Look(t, h, c)
		if r := c.Hook(inside, append([]string{"repair", "--no-auto-repair"}, u.flags...)...); r.Code != 0 {
			t.Fatalf("repair: %+v", r)
		}
		pids := h.Receivers()
		if len(pids) != 1 {
			t.Fatalf("receivers: %v", pids)
		}
		h.Must("kill", "-KILL", fmt.Sprint(pids[0]))
		host.WaitDead(t, h, pids[0])
		host.ExpectUndone(t, h, c, inside, before, u.may()...)
	})
}

// A receiver that watches /dev/log does not repair again after an undo.
func TestEngineUndoWatcher(t *testing.T) {
	eachUndo(t, func(t *testing.T, h *host.Host, c *host.Cheap, inside bool, u undoCase) {
		before := host.Look(t, h, c)
		for range 2 {
			if r := c.Hook(inside, append([]string{"repair"}, u.flags...)...); r.Code != 0 {
				t.Fatalf("repair: %+v", r)
			}
			host.ExpectUndone(t, h, c, inside, before, u.may()...)
		}
		c.Stop()
		h.ExpectNoProcesses()
	})
}

// On the host, clients can always reach the daemon.
func TestEngineUndoHost(t *testing.T) {
	for _, s := range []struct {
		name string
		make func(t *testing.T, h *host.Host)
	}{{"absent", nothing}, {"stale", host.StaleSocket}, {"live", host.LiveSocket},
		{"aside", func(t *testing.T, h *host.Host) { host.Check(t, os.Mkdir(h.Path("/dev/log"), 0o700)) }}} {
		t.Run(s.name, func(t *testing.T) {
			host.NeedContainers(t)
			h := host.NewHost(t)
			s.make(t, h)
			before := host.Look(t, h)
			for _, keep := range []string{"--keep=false", "--keep", "--keep"} {
				if r := h.Do(host.HookOn(), "repair", "--host", "--force", keep); r.Code != 0 || !strings.HasPrefix(r.Out, "prepared the host") {
					t.Fatalf("repair --host: %+v", r)
				}
				if n, want := len(h.Receivers()), map[bool]int{true: 1}[keep == "--keep"]; n != want {
					t.Errorf("with %s %d watchers", keep, n)
				}
				if r := h.Do(host.HookOn(), "repair", "--host", keep); r.Code != 0 || !strings.HasPrefix(r.Out, "nothing to do") {
					t.Fatalf("the second repair --host: %+v", r)
				}
				if r := h.Do(host.HookOn(), "undo", "--host"); r.Code != 0 || !strings.HasPrefix(r.Out, "undone") {
					t.Errorf("undo --host: %+v", r)
				}
				if left := h.Receivers(); len(left) != 0 {
					t.Errorf("left running: %q", h.Processes())
				}
				host.ExpectWorld(t, before, host.Look(t, h))
				if r := h.Do(host.HookOn(), "undo", "--host"); r.Code != 0 || !strings.HasPrefix(r.Out, "nothing to do") {
					t.Errorf("the second undo --host: %+v", r)
				}
			}
		})
	}
}

// A repair of a container with --strategy symlink, while the host's daemon listens, prepares
// the host. The undo of the container leaves the host prepared, because others may rely on it.
// undo --host undoes that.
func TestEngineUndoSymlinkLive(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	receive := host.ListenOn(t, h, "/dev/log")
	c := host.NewCheap(t, h, "c1", host.CheapOptions{})
	before := host.Look(t, h, c)
	heard := func(when string) {
		t.Helper()
		h.Must(host.Client, "host", "13", when)
		if got := receive(); !strings.HasSuffix(got, ": "+when) {
			t.Errorf("the host's daemon received %q, want %q", got, when)
		}
	}
	for i := range 2 {
		if r := c.Hook(false, "repair", "--strategy", "symlink"); r.Code != 0 || !strings.HasPrefix(r.Out, "repaired by symlink:") {
			t.Fatalf("repair: %+v", r)
		}
		c.WantSent(t, c.Log(false), fmt.Sprintf("own-%d", i))
		heard("repaired")
		if r := h.Do(host.HookOn(), "check", "--host"); r.Code != 0 {
			t.Errorf("check --host: %+v", r)
		}
		if r := c.Hook(false, "undo"); r.Code != 0 || !strings.HasPrefix(r.Out, "undone") {
			t.Errorf("undo: %+v", r)
		}
		expectLink(t, h.Path("/dev/log"), "/run/devlog/log")
		heard("container undone")
		if r := h.Do(host.HookOn(), "undo", "--host"); r.Code != 0 || !strings.HasPrefix(r.Out, "undone") {
			t.Errorf("undo --host: %+v", r)
		}
		host.ExpectWorld(t, before, host.Look(t, h, c))
		heard("host undone")
	}
}
