package engine

import (
	"strings"
	"testing"

	"devlog/test/host"
)

// Where a log cannot be written, check says so of the container and in its summary: a message
// that is sent still arrives at the receiver.
func TestCheckLogTrouble(t *testing.T) {
	for _, who := range []string{"own", "node"} {
		t.Run(who, func(t *testing.T) {
			host.NeedContainers(t)
			h := host.NewHost(t)
			h.Must("mkdir", "-p", "/var/log/devlog")
			h.Must("mount", "-n", "-t", "tmpfs", "-o", "size=1m,mode=755", "log", "/var/log/devlog")
			if who == "node" {
				startNode(t, h)
			}
			c := host.NewCheap(t, h, "c1", host.CheapOptions{})
			if r := c.Hook(false, "repair"); r.Code != 0 {
				t.Fatalf("repair: %+v", r)
			}
			const log = "/var/log/devlog/c1/messages"
			for _, want := range []string{"", log + ": disk full", log + ": its directory does not exist"} {
				switch {
				case strings.HasSuffix(want, "full"):
					h.Do("dd", "if=/dev/zero", "of=/var/log/devlog/fill", "bs=4k")
				case want != "":
					h.Must("sh", "-c", "rm -r /var/log/devlog/*")
				}
				line := "\nlog       " + want + "\n"
				r := c.Hook(false, "check")
				if r.Code != 0 || strings.Contains(r.Out, "\nlog ") != (want != "") || want != "" && !strings.Contains(r.Out, line) {
					t.Errorf("want %q, check says %+v", want, r)
				}
				r = h.Do(host.HookOn(), "check")
				if strings.Contains(r.Out, log) != (want != "") || want != "" && !strings.Contains(r.Out, "  "+want+"\n") {
					t.Errorf("want %q, the summary is %+v", want, r)
				}
			}
		})
	}
}
