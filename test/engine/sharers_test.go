package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"devlog/test/host"
)

// unnamed returns the name of a container without a name: its process, and that process's
// start time.
func unnamed(h *host.Host, pid int) string { return fmt.Sprintf("pid-%d-%s", pid, h.Stat(pid)[19]) }

// sharer is a row of check --host.
type sharer struct {
	PID                     int
	Command, Name, Receiver string
	LogAndRepair            string
}

// sharers reads the table of check --host.
func sharers(t *testing.T, text string) (list []sharer) {
	t.Helper()
	for i, line := range sharersTable(t, text) {
		f := strings.Fields(line)
		if i == 0 {
			if want := []string{"PID", "COMMAND", "CONTAINER", "RECEIVER", "/dev/log", "REPAIR"}; !slices.Equal(f, want) {
				t.Errorf("the table's head is %q", f)
			}
			continue
		}
		if len(f) < 6 {
			t.Fatalf("the table has a row %q", line)
		}
		pid, err := strconv.Atoi(f[0])
		host.Check(t, err)
		list = append(list, sharer{pid, f[1], f[2], f[3], strings.Join(f[4:], " ")})
	}
	return list
}

// sharersTable returns the lines of that table, with its head.
func sharersTable(t *testing.T, text string) []string {
	t.Helper()
	_, table, ok := strings.Cut(text, "\nContainers that share this /dev:\n")
	if !ok {
		t.Fatalf("check --host has no table:\n%s", text)
	}
	return strings.Split(strings.TrimSpace(table), "\n")
}

// expectSharers compares the table of check --host, and the same in JSON, to the expected
// containers.
func expectSharers(t *testing.T, h *host.Host, code int, want []sharer) {
	t.Helper()
	slices.SortFunc(want, func(a, b sharer) int { return a.PID - b.PID })
	r := h.Do(host.HookOn(), "check", "--host")
	got := sharers(t, r.Out)
	if r.Code != code || len(got) != len(want) {
		t.Fatalf("check --host: exit code %d, want %d, and %d containers, want %d:\n%s", r.Code, code, len(got), len(want), r.Out)
	}
	for i, w := range want {
		g := got[i]
		says := strings.Contains(g.LogAndRepair, w.LogAndRepair)
		if g.LogAndRepair = w.LogAndRepair; g != w || !says {
			t.Errorf("check --host lists %+v, want %+v:\n%s", g, w, r.Out)
		}
	}
	j := h.Do(host.HookOn(), "check", "--host", "--json")
	var seen struct {
		Host       struct{ Plan struct{ Verdict string } }
		Containers []struct {
			PID           int
			Command, Name string
			Facts         struct{ Watcher bool }
			Plan          struct{ Verdict string }
		}
	}
	if err := json.Unmarshal([]byte(j.Out), &seen); err != nil || j.Code != code || len(seen.Containers) != len(want) {
		t.Fatalf("check --host --json: %+v, %v", j, err)
	}
	for i, w := range want {
		g := seen.Containers[i]
		healthy := w.LogAndRepair == "nothing to do"
		if g.PID != w.PID || g.Command != w.Command || g.Name != w.Name || g.Facts.Watcher != (w.Receiver == "devlogd") || (g.Plan.Verdict == "healthy") != healthy {
			t.Errorf("check --host --json lists %+v, want %+v", g, w)
		}
	}
}

// Exactly the containers that share the host's /dev are listed. They are repaired together.
func TestEngineSharers(t *testing.T) {
	host.NeedContainers(t, "lxc", "runc")
	h := host.NewHost(t)
	receive := host.ListenOn(t, h, "/dev/log")
	l := host.BareLXC(t, h, "web")
	l.Start(host.Hold)
	lxcPID, err := strconv.Atoi(strings.TrimSpace(h.Must(l.Args("lxc-info", "-pH")...).Out))
	host.Check(t, err)
	bare := host.NewCheap(t, h, "bare", host.CheapOptions{})
	repaired := host.NewCheap(t, h, "repaired", host.CheapOptions{})
	if r := repaired.Hook(true, "repair"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	own := host.NewCheap(t, h, "own", host.CheapOptions{}) // with its own daemon
	if r := own.Hook(false, "repair", "--receiver", "none", "--no-auto-repair"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	ownReceive := host.Listen(t, own.Path("/run/devlog/log"))
	_ = host.NewCheap(t, h, "apart", host.CheapOptions{Dev: "mount -n -t tmpfs dev dev"})
	endService := host.Background(t, h, "unshare", "--mount", "cat") // of the host's
	names := map[int]string{bare.PID: unnamed(h, bare.PID), lxcPID: "web"}
	want := func(state, log string) []sharer {
		return []sharer{
			{lxcPID, "sh", "web", state, log}, {bare.PID, "cat", names[bare.PID], state, log},
			{repaired.PID, "cat", unnamed(h, repaired.PID), "devlogd", "nothing to do"},
			{own.PID, "cat", unnamed(h, own.PID), "its", "nothing to do"}, // its own
		}
	}
	expectSharers(t, h, 1, want("none", "bind: listen on /run/devlog/log; mount a link"))
	before := host.Look(t, h, bare, repaired, own)
	r := h.Must(host.HookOn(), "repair", "--host", "--all", "--dry-run")
	for _, words := range []string{"would repair by symlink:\n1. ", "container web (process ", "container " + names[bare.PID] + " (process "} {
		if !strings.Contains(r.Out, words) {
			t.Errorf("the dry run says\n%swant %q", r.Out, words)
		}
	}
	host.ExpectWorld(t, before, host.Look(t, h, bare, repaired, own))
	r = h.Must(host.HookOn(), "repair", "--host", "--all")
	if strings.Count(r.Out, ": repaired by ") != 2 || !strings.HasPrefix(r.Out, "prepared the host by symlink: ") {
		t.Errorf("repair --host --all says\n%s", r.Out)
	}
	for pid, name := range names {
		if want := fmt.Sprintf("\ncontainer %s (process %d): messages go to /var/log/devlog/%[1]s/messages on the host\n", name, pid); !strings.Contains(r.Out, want) {
			t.Errorf("repair --host --all says\n%swant %q", r.Out, want)
		}
	}
	expectSharers(t, h, 0, want("devlogd", "nothing to do"))
	if r := h.Must(host.HookOn(), "repair", "--host", "--all"); r.Out != "nothing to do: the host is prepared\n" {
		t.Errorf("the second repair --host --all says\n%s", r.Out)
	}
	if r := l.Attach("/bin/client", "t", "13", "of-web"); r.Code != 0 {
		t.Errorf("client: %+v", r)
	}
	host.WantOnce(t, h.Path("/var/log/devlog/web/messages"), "of-web")
	bare.WantSent(t, h.Path("/var/log/devlog/"+names[bare.PID]+"/messages"), "of-bare")
	repaired.WantSent(t, repaired.Log(true), "of-repaired")
	own.Sh("client t 13 of-own")
	if got := ownReceive(); !strings.HasSuffix(got, ": of-own") {
		t.Errorf("the container's own daemon received %q", got)
	}
	h.Must(host.Client, "t", "13", "of-host")
	if got := receive(); !strings.HasSuffix(got, ": of-host") {
		t.Errorf("the host's daemon received %q", got)
	}
	endService()
	host.Release(t, l.Rootfs)
	l.WaitStopped()
}
