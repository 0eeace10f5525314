package runtimes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// A container's annotations set the options that its user may choose.
func TestAnnotations(t *testing.T) {
	eachStage(t, []string{"prestart", "createContainer", "startContainer"}, func(t *testing.T, h *host.Host, runtime, stage string) {
		dir, at := "/var/log/devlog/c1", h.Path
		if stage != "prestart" {
			dir = "/var/log"
		}
		c := host.Annotated(t, h, runtime, stage, host.ThreeClients("a")+"readlink /dev/log >/tmp/to; "+host.Hold, map[string]any{
			"devlog.dev/rules": "*.notice " + dir + "/notices\n*.* " + dir + "/sub/all", "devlog.dev/socket": "/run/own/log"})
		if stage != "prestart" {
			at = func(name string) string { return filepath.Join(c.Rootfs, name) }
		}
		c.Create()
		c.Start()
		for _, name := range []string{"/notices", "/sub/all"} {
			host.WantOnce(t, at(dir+name), host.ThreeTexts("a")...)
		}
		host.Eventually(t, "/dev/log points to the socket that was chosen", func() bool {
			to, err := os.ReadFile(filepath.Join(c.Rootfs, "tmp/to"))
			return err == nil && string(to) == "/run/own/log\n"
		})
		if _, err := os.Stat(at(dir + "/messages")); err == nil {
			t.Error("the default log is written as well")
		}
		host.End(t, h, c, c.Rootfs)
		host.ExpectReceiversEnd(t, h)
	})
}

// devlog.dev/log=off: the hook does nothing at all.
func TestAnnotationOff(t *testing.T) {
	eachStage(t, []string{"prestart", "createContainer", "startContainer", "poststart"}, func(t *testing.T, h *host.Host, runtime, stage string) {
		before := host.Tree(h)
		c := host.Annotated(t, h, runtime, stage, "exit 6", map[string]any{"devlog.dev/log": "off"})
		files := host.Snap(t, c.Rootfs, "/")
		if r := h.Do(c.Args("run")...); r.Code != 6 {
			t.Errorf("run: %+v", r)
		}
		host.ExpectNew(t, h, before)
		if after := host.Snap(t, c.Rootfs, "/run", "/var", "/dev"); strings.Contains(strings.Join(after, "\n"), "log/") || len(files) == 0 {
			t.Errorf("the container's files: %q", after)
		}
	})
}

// Annotations can name only the container's own files on the host, unless the administrator allows
// more. The hook's flags override them.
func TestAnnotationLimits(t *testing.T) {
	const own = "/var/log/devlog/c1"
	for _, s := range []struct {
		name        string
		annotations map[string]any
		flags       []string
		refused     string // words of the refusal, or empty
		log         string // where messages go
	}{
		{name: "elsewhere", annotations: map[string]any{"devlog.dev/rules": "*.* /var/log/devlog/c2/messages"}, refused: "files below " + own + " and "},
		{name: "up", annotations: map[string]any{"devlog.dev/rules": "*.* " + own + "/../../x"}, refused: "files below " + own + " and "},
		{name: "kernel", annotations: map[string]any{"devlog.dev/rules": "*.crit /dev/kmsg"}, refused: "files below " + own + " and "},
		{name: "link", annotations: map[string]any{"devlog.dev/rules": "*.* " + own + "/link/x"}, refused: own + "/link is a link"},
		{name: "program", annotations: map[string]any{"devlog.dev/receiver": "/tmp/x"}, refused: `only to "none"`},
		{name: "strategy", annotations: map[string]any{"devlog.dev/strategy": "symlink"}, refused: "for the host too"},
		{name: "allowed", annotations: map[string]any{"devlog.dev/rules": "*.* /var/log/x"}, flags: []string{"--annotations", "all"}, log: "/var/log/x"},
		{name: "flags first", annotations: map[string]any{"devlog.dev/rules": "*.* " + own + "/x"}, flags: []string{"--rule", "*.* /var/log/y"}, log: "/var/log/y"},
		{name: "passed over", annotations: map[string]any{"devlog.dev/log": "off", "devlog.dev/rules": "*.* /etc/x"}, flags: []string{"--annotations", "none"}, log: own + "/messages"},
	} {
		t.Run(s.name, func(t *testing.T) {
			host.NeedContainers(t, "runc")
			h := host.NewHost(t)
			host.Check(t, os.MkdirAll(h.Path(own), 0o755))
			host.Check(t, os.Symlink("/var/log", h.Path(own+"/link")))
			before := host.Tree(h)
			c := host.Annotated(t, h, "runc", "createRuntime", host.ThreeClients("a")+"exit 5", s.annotations, append(s.flags, "--on-error", "fail")...)
			r := h.Do(c.Args("run")...)
			if s.refused == "" {
				if r.Code != 5 {
					t.Fatalf("run: %+v", r)
				}
				host.WantOnce(t, h.Path(s.log), host.ThreeTexts("a")...)
				host.ExpectReceiversEnd(t, h)
				host.ExpectNew(t, h, before, host.Linked, s.log)
				return
			}
			said, err := os.ReadFile(h.Path("/run/devlog/c1.log"))
			if r.Code == 5 || r.Code == 0 || err != nil || strings.Count(string(said), "\n") != 1 || !strings.Contains(string(said), s.refused) {
				t.Errorf("run: %+v; it says %q, %v; want %q", r, said, err, s.refused)
			}
			host.ExpectNew(t, h, before, "/run/devlog", "/run/devlog/c1.log")
		})
	}
}

// Variables of a createContainer hook that come from the container's environment are refused.
func TestAnnotationForeignEnv(t *testing.T) {
	host.NeedContainers(t, "runc")
	h := host.NewHost(t)
	c := host.NewOCI(t, h, "runc", "c1", "exit 5")
	c.Config["process"].(map[string]any)["env"] = []string{"PATH=/bin:/usr/bin", "DEVLOG_RECEIVER=/bin/evil"}
	c.Config["hooks"] = map[string]any{"createContainer": []any{map[string]any{
		"path": host.HookOn(), "args": []string{"devlog-hook", "oci", "--stage", "createContainer", "--on-error", "fail"}}}}
	r := h.Do(c.Write().Args("run")...)
	if r.Code == 5 || r.Code == 0 || !strings.Contains(r.ErrOut, "DEVLOG_RECEIVER comes from the container's environment") {
		t.Errorf("run: %+v", r)
	}
}
