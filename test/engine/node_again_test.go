package engine

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"devlog/test/host"
)

// Without a service manager that keeps the sockets, a restarted node has its containers repaired
// with their options, if they still run and were not undone.
func TestNodeStartsAgain(t *testing.T) {
	host.NeedContainers(t)
	for how, signal := range map[string]string{"killed": "-KILL", "stopped": "-TERM"} {
		t.Run(how, func(t *testing.T) {
			h := host.NewHost(t)
			pid, _ := startNode(t, h)
			stays, ends, undone := host.NewCheap(t, h, "stays", host.CheapOptions{}), host.NewCheap(t, h, "ends", host.CheapOptions{}), host.NewCheap(t, h, "undone", host.CheapOptions{})
			rule := "*.* -/var/log/devlog/stays/all"
			for _, c := range []*host.Cheap{stays, ends, undone} {
				if r := c.Hook(false, "repair", "--receiver", "node", "--rule", rule, "--listen", "/run/more"); r.Code != 0 || r.ErrOut != "" {
					t.Fatalf("repair: %+v", r)
				}
			}
			log := h.Path("/var/log/devlog/stays/all")
			stays.WantSent(t, log, "before")
			h.Must("kill", signal, strconv.Itoa(pid))
			host.ExpectReceiversEnd(t, h)
			ends.Stop()
			if r := undone.Hook(false, "undo"); r.Code != 0 {
				t.Fatalf("undo: %+v", r)
			}
			since := time.Now()
			startNode(t, h)
			host.Eventually(t, "the container can log again", func() bool {
				return strings.HasSuffix(stays.Hook(false, "check").Out, "nothing to do\n")
			})
			t.Logf("the container can log again %v after the start", time.Since(since))
			stays.WantSent(t, log, "after")
			r := h.Do(host.HookOn(), "list", "--json")
			if strings.Count(r.Out, `"pid"`) != 1 || !strings.Contains(r.Out, "stays") || !strings.Contains(r.Out, "/all") {
				t.Errorf("list: %+v", r)
			}
			if _, err := os.Stat(stays.Path("/run/more")); err != nil {
				t.Errorf("the further socket: %v", err)
			}
			host.Eventually(t, "only what runs is remembered", func() bool {
				entries, err := os.ReadDir(h.Path("/run/devlog/containers"))
				return err == nil && len(entries) == 1
			})
			if r := stays.Hook(false, "undo"); r.Code != 0 || !strings.HasPrefix(r.Out, "undone") {
				t.Errorf("undo: %+v", r)
			}
		})
	}
}
