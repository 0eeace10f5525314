package engine

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devlog/test/host"
)

// hang mounts a file system on the container's directory that never answers, as root in a container
// can with /dev/fuse.
func hang(c *host.Cheap, dir string) {
	c.H.T.Helper()
	c.Sh(`mknod /tmp/fuse c 10 229; exec 9<>/tmp/fuse
busybox mount -n -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0 none ` + dir + `
sleep 1000 </dev/null >/dev/null 2>&1 &`)
}

// listed returns whether the service answers, and lists these containers only.
func listed(h *host.Host, names ...string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	out, err := h.Command(ctx, host.HookOn(), "list", "--json").Output()
	if err != nil || strings.Count(string(out), `"pid"`) != len(names) {
		return false
	}
	for _, name := range names {
		if !strings.Contains(string(out), `"container": "`+name+`"`) {
			return false
		}
	}
	return true
}

// A container whose file system never answers does not hold up hooks and other containers: the service
// goes on without it.
func TestNodeHungFileSystem(t *testing.T) {
	host.NeedContainers(t, "fuse")
	for name, keeps := range map[string]bool{"files are kept": true, "nothing is kept": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it mostly waits
			h := host.NewHost(t)
			m := host.NewManager(t, h, filepath.Join(filepath.Dir(host.HookOn()), "devlogd"))
			m.Start(keeps)
			host.Eventually(t, "the service listens", func() bool { return listens(t, h) })
			var cs []*host.Cheap
			for _, name := range []string{"a", "b"} {
				c := host.NewCheap(t, h, name, host.CheapOptions{})
				if r := c.Hook(false, "repair", "--receiver", "node"); r.Code != 0 || r.ErrOut != "" {
					t.Fatalf("repair: %+v", r)
				}
				cs = append(cs, c)
			}
			a, b := cs[0], cs[1]
			hang(a, "/run/devlog")
			if keeps {
				host.Eventually(t, "the service ends", m.HasEnded)
				b.Sh("client t 13 sent-meanwhile")
				m.Start(true)
				host.WantOnce(t, b.Log(false), "sent-meanwhile")
			}
			host.Eventually(t, "the service has the other container only", func() bool { return listed(h, "b") })
			b.WantSent(t, b.Log(false), "after")
			d := host.NewCheap(t, h, "d", host.CheapOptions{})
			if r := d.Hook(false, "repair", "--receiver", "node"); r.Code != 0 || r.ErrOut != "" {
				t.Errorf("repair: %+v", r)
			}
			d.WantSent(t, d.Log(false), "hello")
		})
	}
}
