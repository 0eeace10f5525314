package runtimes

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"devlog/test/host"
)

// A container sends as much as it can and ends at once: each message is written, and the runtime's
// foreground command ends.
func TestOCIRun(t *testing.T) {
	host.EachOCI(t, func(t *testing.T, h *host.Host, runtime, stage string) {
		before := host.Tree(h)
		c := host.NewOCI(t, h, runtime, "c1", host.ThreeClients("a")+"client -n 2000 burst 13 burst; exit 6")
		c.Hook(stage)
		c.Write()
		if r := h.Do(c.Args("run")...); r.Code != 6 {
			t.Fatalf("run: %+v", r)
		}
		host.ExpectReceiversEnd(t, h)
		want := host.ThreeTexts("a")
		for i := 1; i <= 2000; i++ {
			want = append(want, fmt.Sprintf("burst %d.", i))
		}
		host.WantOnce(t, c.Log(), want...)
		host.ExpectNew(t, h, before, host.OCILeaves("c1")...)
		host.ExpectEmpty(t, filepath.Join(c.Rootfs, "run"))
	})
}

// The receiver of a created container runs before the container's first process, and is a proper
// daemon of the host.
func TestOCICreateStart(t *testing.T) {
	host.EachOCI(t, func(t *testing.T, h *host.Host, runtime, stage string) {
		before := host.Tree(h)
		c := host.NewOCI(t, h, runtime, "c1", host.ThreeClients("a")+host.Hold)
		c.Mount("/run", "tmpfs", "tmpfs", "mode=755")
		c.Hook(stage)
		c.Write().Create()
		pids := h.Receivers()
		if len(pids) != 1 {
			t.Fatalf("receivers of a created container: %v", pids)
		}
		c.Start()
		host.WantOnce(t, c.Log(), host.ThreeTexts("a")...)
		host.ExpectDaemon(t, h, pids[0], c)
		if r := c.Exec("readlink", "/dev/log"); r.Out != "/run/devlog/log\n" {
			t.Errorf("/dev/log in the container: %+v", r)
		}
		host.Release(t, c.Rootfs)
		c.WaitStopped()
		host.ExpectReceiversEnd(t, h)
		h.Must(c.Args("delete")...)
		host.ExpectNew(t, h, before, host.OCILeaves("c1")...)
	})
}

// The output of the runtime's command reaches its end while the receiver lives.
func TestOCIOutputCloses(t *testing.T) {
	host.EachOCI(t, func(t *testing.T, h *host.Host, runtime, stage string) {
		script := "exec </dev/null >/dev/null 2>&1; " + host.Hold
		c := host.NewOCI(t, h, runtime, "c1", script)
		c.Hook(stage)
		h.Must(c.Write().Args("run", "--detach")...) // waits for the end of the output
		d := host.NewOCI(t, h, runtime, "c2", script)
		d.Hook(stage)
		d.Write()
		r, w, err := os.Pipe()
		host.Check(t, err)
		cmd := h.Command(t.Context(), d.Args("create")...)
		cmd.Stdout, cmd.Stderr = w, w
		host.Check(t, cmd.Run())
		host.Check(t, w.Close())
		d.Start()
		host.Check(t, r.SetReadDeadline(time.Now().Add(host.Deadline)))
		if out, err := io.ReadAll(r); err != nil {
			t.Fatalf("create's output does not end: %q, %v; processes: %q", out, err, h.Processes())
		}
		host.Check(t, r.Close())
		if n := len(h.Receivers()); n != 2 {
			t.Errorf("%d receivers for two containers", n)
		}
		for _, c := range []*host.OCI{c, d} {
			host.Release(t, c.Rootfs)
			c.WaitStopped()
			h.Must(c.Args("delete")...)
		}
	})
}

// Two containers share /dev. Each one's messages are in its own log.
func TestOCINeighbours(t *testing.T) {
	host.EachOCI(t, func(t *testing.T, h *host.Host, runtime, stage string) {
		var cs []*host.OCI
		for _, id := range []string{"left", "right"} {
			c := host.NewOCI(t, h, runtime, id, host.ThreeClients(id)+host.Hold)
			c.Hook(stage)
			c.Write().Create()
			cs = append(cs, c)
		}
		for _, c := range cs {
			c.Start()
		}
		for i, c := range cs {
			host.WantOnce(t, c.Log(), host.ThreeTexts(c.ID)...)
			host.WantNowhere(t, filepath.Dir(c.Log()), host.ThreeTexts(cs[1-i].ID)...)
		}
		for _, c := range cs {
			host.Release(t, c.Rootfs)
			c.WaitStopped()
			h.Must(c.Args("delete")...)
		}
	})
}
