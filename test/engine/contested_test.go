package engine

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// While a neighbour replaces /dev/log all the time, each container gets its receiver and its
// private socket, which is what its messages need once the neighbour stops.
func TestEngineContested(t *testing.T) {
	for _, prepared := range []bool{true, false} {
		t.Run(fmt.Sprintf("prepared %t", prepared), func(t *testing.T) {
			host.NeedContainers(t)
			h := host.NewHost(t)
			if prepared {
				h.Must(host.HookOn(), "repair", "--host")
			}
			stop := replacing(t, h.Path("/dev/log"))
			var cs []*host.Cheap
			contested := 0
			for i := range 5 {
				c := host.NewCheap(t, h, fmt.Sprint("c", i), host.CheapOptions{})
				r := c.Hook(false, "repair")
				if r.Code != 0 {
					t.Errorf("%s: %+v", c.Name, r)
				}
				if strings.Contains(r.Out+r.ErrOut, "find out who replaces /dev/log all the time") {
					contested++
				}
				if !host.Exists(c.Path("/run/devlog/log")) {
					t.Errorf("%s has no private socket", c.Name)
				}
				cs = append(cs, c)
			}
			stop()
			t.Logf("%d of %d without a look at the name", contested, len(cs))
			t.Logf("repaired within %v", converge(t, cs, "the attack"))
			for _, c := range cs {
				c.WantSent(t, c.Log(false), "end-"+c.Name)
			}
		})
	}
}

// replacing replaces the name by every kind of file, as fast as it can, until stop is called.
func replacing(t *testing.T, path string) (stop func()) {
	t.Helper()
	done := make(chan struct{})
	var replacer sync.WaitGroup
	replacer.Add(1)
	go func() {
		defer replacer.Done()
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			_ = os.RemoveAll(path)
			switch i % 4 {
			case 0:
				_ = os.Symlink("/etc/nologin", path)
			case 1:
				_ = unix.Mkfifo(path, 0o666)
			case 2:
				_ = os.Mkdir(path, 0o755)
			default:
				_ = os.Symlink("/run/devlog/log", path)
			}
		}
	}()
	return func() {
		close(done)
		replacer.Wait()
		host.Check(t, os.RemoveAll(path))
	}
}
