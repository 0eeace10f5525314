package runtimes

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"devlog/test/host"
)

// With a runtime that moves the root's mount instead of calling pivot_root(2), the receiver is in the
// container's root too.
func TestStageWithoutPivot(t *testing.T) {
	eachStage(t, []string{"createContainer"}, func(t *testing.T, h *host.Host, runtime, stage string) {
		c := host.NewOCI(t, h, runtime, "c1", host.ThreeClients("a")+host.Hold)
		c.Hook(stage)
		c.Write()
		if r := h.Detached(c.Args("create", "--no-pivot")...); r.Code != 0 {
			t.Fatalf("create: %+v", r)
		}
		c.Start()
		host.WantOnce(t, c.LogInside(), host.ThreeTexts("a")...)
		expectContained(t, h, h.Receivers()[0], c)
		host.End(t, h, c, c.Rootfs)
		host.ExpectReceiversEnd(t, h)
	})
}

// The receiver of a container without its own PID namespace ends with the container.
func TestStageHostPID(t *testing.T) {
	eachStage(t, append([]string{"prestart", "poststart"}, insideStages...), func(t *testing.T, h *host.Host, runtime, stage string) {
		c := host.NewOCI(t, h, runtime, "c1", "until readlink /dev/log; do sleep 0.01; done\n"+host.ThreeClients("a")+host.Hold)
		linux := c.Config["linux"].(map[string]any)
		namespaces := []any{}
		for _, ns := range linux["namespaces"].([]any) {
			if ns.(map[string]any)["type"] != "pid" {
				namespaces = append(namespaces, ns)
			}
		}
		linux["namespaces"] = namespaces
		c.Hook(stage)
		c.Write().Create()
		c.Start()
		log := c.Log()
		if stage == "createContainer" || stage == "startContainer" {
			log = c.LogInside()
		}
		host.WantOnce(t, log, host.ThreeTexts("a")...)
		host.Release(t, c.Rootfs)
		c.WaitStopped()
		host.ExpectReceiversEnd(t, h)
		h.Must(c.Args("delete")...)
		host.ExpectEmpty(t, filepath.Join(c.Rootfs, "run"))
	})
}

// At createContainer the hook's file of rules is the host's. The default file is the container's.
func TestStageRules(t *testing.T) {
	eachStage(t, []string{"createContainer"}, func(t *testing.T, h *host.Host, runtime, stage string) {
		host.Check(t, os.WriteFile(h.Path("/run/rules"), []byte("# the host's\n*.* /var/log/hosts\n"), 0o600))
		for id, flags := range map[string][]string{"hosts": {"--config", "/run/rules"}, "own": nil} {
			c := host.NewOCI(t, h, runtime, id, host.ThreeClients(id)+host.Hold)
			host.Check(t, os.WriteFile(filepath.Join(c.Rootfs, "etc/devlogd.conf"), []byte("*.* /var/log/own\n"), 0o644))
			c.Hook(stage, flags...)
			c.Write().Create()
			c.Start()
			host.WantOnce(t, filepath.Join(c.Rootfs, "var/log", id), host.ThreeTexts(id)...)
			host.End(t, h, c, c.Rootfs)
			entries, err := os.ReadDir(filepath.Join(c.Rootfs, "var/log"))
			host.Check(t, err)
			if len(entries) != 1 {
				t.Errorf("logs: %v", entries)
			}
		}
	})
}

// At createContainer the receiver may not write to the container's standard output, which belongs to a
// process with more privileges: the hook reports that before the start.
func TestStageStdout(t *testing.T) {
	eachStage(t, []string{"createContainer"}, func(t *testing.T, h *host.Host, runtime, stage string) {
		before := host.Tree(h)
		c := host.NewOCI(t, h, runtime, "c1", "exit 5")
		c.Hook(stage, "--rule", "*.* container-stdout", "--on-error", "fail")
		r := h.Do(c.Write().Args("run")...)
		said, err := os.ReadFile(h.Path("/run/devlog/c1.log"))
		if r.Code == 5 || r.Code == 0 || err != nil || !strings.Contains(string(said), "use --stage createRuntime") {
			t.Errorf("run: %+v; it says %q, %v", r, said, err)
		}
		host.ExpectNew(t, h, before, "/run/devlog", "/run/devlog/c1.log")
	})
}

// undo in the container undoes the repair of a hook in the container.
func TestStageUndo(t *testing.T) {
	eachStage(t, insideStages, func(t *testing.T, h *host.Host, runtime, stage string) {
		before := host.Tree(h)
		c := host.NewOCI(t, h, runtime, "c1", "mkfifo /tmp/hold; exec cat /tmp/hold") // a shell would be interrupted by the end of its child
		c.Hook(stage)
		c.Write().Create()
		c.Start()
		if r := c.Exec(host.HookIn, "undo"); r.Code != 0 || len(h.Receivers()) != 0 {
			t.Errorf("undo: %+v; receivers: %v", r, h.Receivers())
		}
		if stage == "createContainer" { // which has prepared the host
			h.Must(host.HookOn(), "undo", "--host")
		}
		host.ExpectNew(t, h, before)
		host.ExpectEmpty(t, filepath.Join(c.Rootfs, "run"))
		host.End(t, h, c, c.Rootfs)
	})
}

// On an unprepared host with a live daemon, a link is mounted over the daemon's socket at
// createContainer, in the container only, also with uid mappings.
func TestStageBind(t *testing.T) {
	for _, mapped := range []bool{false, true} {
		eachStage(t, []string{"createContainer"}, func(t *testing.T, h *host.Host, runtime, stage string) {
			receive := host.ListenOn(t, h, "/dev/log")
			before := host.Tree(h)
			c := host.NewOCI(t, h, runtime, "c1", host.ThreeClients("a")+host.Hold)
			if mapped {
				c.Mapped()
			}
			c.Hook(stage)
			c.Write().Create()
			c.Start()
			host.WantOnce(t, c.LogInside(), host.ThreeTexts("a")...)
			expectContained(t, h, h.Receivers()[0], c)
			h.Must("logger", "of-the-host")
			if got := receive(); !strings.Contains(got, "of-the-host") {
				t.Errorf("the host's daemon has received %q", got)
			}
			host.End(t, h, c, c.Rootfs)
			host.ExpectReceiversEnd(t, h)
			host.ExpectNew(t, h, before)
		})
	}
}

// At createContainer the socket's queue is as long as at earlier stages, and no setting of a network
// namespace stays changed.
func TestStageQueue(t *testing.T) {
	for _, own := range []bool{true, false} {
		eachStage(t, []string{"createContainer"}, func(t *testing.T, h *host.Host, runtime, stage string) {
			before := h.Must("cat", host.QueueFile).Out
			want, err := strconv.Atoi(strings.TrimSpace(before))
			host.Check(t, err)
			c := host.NewOCI(t, h, runtime, "c1", host.Hold)
			if own {
				linux := c.Config["linux"].(map[string]any)
				linux["namespaces"] = append(linux["namespaces"].([]any), map[string]any{"type": "network"})
				want = 512
			}
			c.Hook(stage)
			c.Write().Create()
			c.Start()
			defer host.WaitHeld(t, c.Rootfs).Close() // a stopped child would interrupt a shell that still opens
			host.ExpectQueue(t, host.Queued(t, h, c.Rootfs), want)
			for where, got := range map[string]string{"the container": c.Exec("cat", host.QueueFile).Out, "the host": h.Must("cat", host.QueueFile).Out} {
				if got != before {
					t.Errorf("%s is left with a queue length of %q, want %q", where, got, before)
				}
			}
			host.End(t, h, c, c.Rootfs)
		})
	}
}
