package engine

import (
	"strconv"
	"strings"
	"testing"

	"devlog/test/host"
)

// In its own network namespace, the container's socket has a longer queue, and the
// namespace's setting is as before. The host's setting never changes.
func TestQueueOCI(t *testing.T) {
	for _, runtime := range []string{"runc", "crun"} {
		for _, own := range []bool{true, false} {
			t.Run(runtime+map[bool]string{true: "/own", false: "/shared"}[own], func(t *testing.T) {
				host.NeedContainers(t, runtime)
				h := host.NewHost(t)
				before, err := strconv.Atoi(strings.TrimSpace(h.Must("cat", host.QueueFile).Out))
				host.Check(t, err)
				c := host.NewOCI(t, h, runtime, "c1", host.Hold)
				want := before
				if own {
					linux := c.Config["linux"].(map[string]any)
					linux["namespaces"] = append(linux["namespaces"].([]any), map[string]any{"type": "network"})
					want = 512
				}
				c.Hook("prestart")
				c.Write().Create()
				c.Start()
				defer host.WaitHeld(t, c.Rootfs).Close() // a stopped child would interrupt a shell that still opens
				n := host.Queued(t, h, c.Rootfs)
				host.ExpectQueue(t, n, want)
				for where, got := range map[string]string{
					"the container": c.Exec("cat", host.QueueFile).Out, "the host": h.Must("cat", host.QueueFile).Out,
				} {
					if strings.TrimSpace(got) != strconv.Itoa(before) {
						t.Errorf("%s is left with a queue length of %q, want %d", where, got, before)
					}
				}
				host.Release(t, c.Rootfs)
				c.WaitStopped()
				host.ExpectReceiversEnd(t, h)
				var sent []string
				for i := range n {
					sent = append(sent, "queued "+strconv.Itoa(i+1)+".")
				}
				host.WantOnce(t, c.Log(), sent...)
				h.Must(c.Args("delete")...)
			})
		}
	}
}

// The same from inside a container.
func TestQueueLXC(t *testing.T) {
	host.NeedContainers(t, "lxc")
	h := host.NewHost(t)
	before := h.Must("cat", host.QueueFile).Out
	c := host.NewLXC(t, h, "c1")
	c.Start(host.Hold)
	defer host.WaitHeld(t, c.Rootfs).Close()
	host.ExpectQueue(t, host.Queued(t, h, c.Rootfs), 512)
	for where, got := range map[string]string{
		"the container": c.Attach("/bin/cat", host.QueueFile).Out, "the host": h.Must("cat", host.QueueFile).Out,
	} {
		if got != before {
			t.Errorf("%s is left with a queue length of %q, want %q", where, got, before)
		}
	}
	host.Release(t, c.Rootfs)
	c.WaitStopped()
}
