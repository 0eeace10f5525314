package engine

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// A hook that is killed at any moment leaves the service nothing that hinders the next: the container
// logs, is listed once, and is gone after an undo.
func TestNodeHookKilledAnywhere(t *testing.T) {
	host.NeedContainers(t)
	bin, err := host.CrashDir()
	host.Check(t, err)
	h := host.NewHost(t)
	m := host.NewManager(t, h, filepath.Join(bin, "devlogd"))
	m.Start(true)
	x := &crashing{t: t, h: h, bin: bin, tt: crashCase{watched: true, flags: []string{"--receiver", "node"}}}
	x.c = host.NewCheap(t, h, "c1", host.CheapOptions{Bin: bin})
	listed := func(want int) {
		t.Helper()
		var list []json.RawMessage
		host.Eventually(t, fmt.Sprintf("%d containers are listed", want), func() bool {
			out := h.Do(filepath.Join(bin, "devlog-hook"), "list", "--json").Out
			return json.Unmarshal([]byte(out), &list) == nil && len(list) == want
		})
	}
	for n := 1; ; n++ {
		_, killed := x.run(n, "repair")
		x.run(0, "repair")
		listed(1)
		x.c.WantSent(t, x.c.Log(false), fmt.Sprint("killed-at-", n))
		x.run(0, "undo")
		listed(0)
		if !killed {
			if n < 2 {
				t.Error("the repair has no checkpoint")
			}
			break
		}
	}
	if n := len(h.Receivers()); n != 1 {
		t.Errorf("%d receivers run: %q", n, h.Processes())
	}
	if r := h.Do("ls", "/run/devlog/containers"); strings.TrimSpace(r.Out) != "" {
		t.Errorf("noted still: %q", r.Out)
	}
}
