package engine

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"testing"

	"devlog/test/host"
)

// together runs commands on the host at the same time, and fails the test if
// one fails.
func together(t *testing.T, h *host.Host, lines [][]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*host.Deadline)
	defer cancel()
	cmds := make([]*exec.Cmd, len(lines))
	outs := make([]bytes.Buffer, len(lines))
	for i, line := range lines {
		cmds[i] = h.Command(ctx, line...)
		cmds[i].Stdout, cmds[i].Stderr = &outs[i], &outs[i]
		host.Check(t, cmds[i].Start())
	}
	for i, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%q: %v: %s", lines[i], err, &outs[i])
		}
	}
}

// Two hundred repairs at once, ten in each of twenty containers that share a
// /dev where nothing is prepared, end in one state.
func TestEngineManyContainers(t *testing.T) {
	const containers, each = 20, 10
	for _, s := range host.DevLogs[:3] { // all of them want to replace the stale socket
		t.Run(s.Name, func(t *testing.T) {
			host.NeedContainers(t)
			h := host.NewHost(t)
			s.Make(t, h)
			var cs []*host.Cheap
			for i := range containers {
				cs = append(cs, host.NewCheap(t, h, fmt.Sprintf("n%d", i), host.CheapOptions{}))
			}
			before := host.Tree(h)
			var lines [][]string
			for range each {
				for _, c := range cs {
					lines = append(lines, c.HookArgs(true, "repair"))
				}
			}
			together(t, h, lines)
			host.ExpectDev(t, h, before, s)
			if n := len(h.Receivers()); n != containers {
				t.Errorf("%d receivers for %d containers", n, containers)
			}
			for i, c := range cs {
				c.WantSent(t, c.Log(true), fmt.Sprintf("to-%d", i))
			}
			for i, c := range cs {
				host.WantNowhere(t, c.Path("/var/log"), fmt.Sprintf("to-%d", (i+1)%len(cs)))
				if r := c.Hook(true, "check"); r.Code != 0 {
					t.Errorf("%s: check: %+v", c.Name, r)
				}
				c.Stop()
			}
			host.ExpectReceiversEnd(t, h)
		})
	}
}

// A hundred repairs of one container at once, from inside and from the host.
func TestEngineManyRepairs(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	host.LiveSocket(t, h)
	c := host.NewCheap(t, h, "one", host.CheapOptions{})
	before := host.Look(t, h, c)
	var lines [][]string
	for i := range 100 {
		lines = append(lines, c.HookArgs(i%2 == 0, "repair"))
	}
	together(t, h, lines)
	if n := len(h.Receivers()); n != 1 {
		t.Errorf("%d receivers for one container", n)
	}
	if added := len(host.Table(t, h, c.PID)) - len(before.Mounts[0]); added != 1 {
		t.Errorf("%d mounts were added, want one", added)
	}
	if r := c.Hook(false, "check"); r.Code != 0 {
		t.Errorf("check: %+v", r)
	}
	host.ExpectUndone(t, h, c, false, before)
}
