package test

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"testing"
)

// together runs commands on the host at the same time, and fails the test if
// one fails.
func together(t *testing.T, h *Host, lines [][]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*deadline)
	defer cancel()
	cmds := make([]*exec.Cmd, len(lines))
	outs := make([]bytes.Buffer, len(lines))
	for i, line := range lines {
		cmds[i] = h.Command(ctx, line...)
		cmds[i].Stdout, cmds[i].Stderr = &outs[i], &outs[i]
		check(t, cmds[i].Start())
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
	for _, s := range devLogs[:3] { // all of them want to replace the stale socket
		t.Run(s.name, func(t *testing.T) {
			needContainers(t)
			h := NewHost(t)
			s.make(t, h)
			var cs []*Cheap
			for i := range containers {
				cs = append(cs, NewCheap(t, h, fmt.Sprintf("n%d", i), cheapOptions{}))
			}
			before := hostTree(h)
			var lines [][]string
			for range each {
				for _, c := range cs {
					lines = append(lines, c.HookArgs(true, "repair"))
				}
			}
			together(t, h, lines)
			expectDev(t, h, before, s)
			if n := len(h.Receivers()); n != containers {
				t.Errorf("%d receivers for %d containers", n, containers)
			}
			for i, c := range cs {
				c.wantSent(t, c.Log(true), fmt.Sprintf("to-%d", i))
			}
			for i, c := range cs {
				wantNowhere(t, c.Path("/var/log"), fmt.Sprintf("to-%d", (i+1)%len(cs)))
				if r := c.Hook(true, "check"); r.Code != 0 {
					t.Errorf("%s: check: %+v", c.Name, r)
				}
				c.Stop()
			}
			expectReceiversEnd(t, h)
		})
	}
}

// A hundred repairs of one container at once, from inside and from the host.
func TestEngineManyRepairs(t *testing.T) {
	needContainers(t)
	h := NewHost(t)
	liveSocket(t, h)
	c := NewCheap(t, h, "one", cheapOptions{})
	before := look(t, h, c)
	var lines [][]string
	for i := range 100 {
		lines = append(lines, c.HookArgs(i%2 == 0, "repair"))
	}
	together(t, h, lines)
	if n := len(h.Receivers()); n != 1 {
		t.Errorf("%d receivers for one container", n)
	}
	if added := len(table(t, h, c.PID)) - len(before.mounts[0]); added != 1 {
		t.Errorf("%d mounts were added, want one", added)
	}
	if r := c.Hook(false, "check"); r.Code != 0 {
		t.Errorf("check: %+v", r)
	}
	expectUndone(t, h, c, false, before)
}
