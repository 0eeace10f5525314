package engine

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"devlog/test/host"
)

// An ignored setting is reported once, among the container's messages, and is not an error.
func TestIgnored(t *testing.T) {
	const variable = "ignored: unknown environment variable DEVLOG_RULX"
	const annotation = "ignored: unknown annotation devlog.dev/rule (did you mean devlog.dev/rules?)"
	t.Run("repair", func(t *testing.T) {
		host.NeedContainers(t)
		h := host.NewHost(t)
		c := host.NewCheap(t, h, "c1", host.CheapOptions{})
		r := c.Exec("env", "DEVLOG_RULX=*.* /x", host.HookIn, "repair")
		if r.Code != 0 || r.ErrOut != "devlog-hook: "+variable+"\n" {
			t.Errorf("repair: %+v", r)
		}
		host.WantOnce(t, c.Log(true), variable)
	})
	t.Run("hook", func(t *testing.T) {
		host.NeedContainers(t, "runc")
		h := host.NewHost(t)
		c := host.Annotated(t, h, "runc", "createRuntime", host.ThreeClients("a")+host.Hold, map[string]any{"devlog.dev/rule": "*.* /x"})
		c.Create()
		c.Start()
		host.WantOnce(t, c.Log(), append(host.ThreeTexts("a"), annotation)...)
		// An upgraded program does not report it again.
		h.Must("kill", "-USR2", fmt.Sprint(h.Receivers()[0]))
		host.Eventually(t, "the upgrade is in the log", func() bool {
			text, err := os.ReadFile(c.Log())
			return err == nil && strings.Contains(string(text), ": upgraded to devlogd ")
		})
		host.End(t, h, c, c.Rootfs)
		host.WantOnce(t, c.Log(), append(host.ThreeTexts("a"), annotation)...)
		if host.Exists(h.Path("/run/devlog/c1.log")) {
			t.Error("it is noted as a failure")
		}
		host.ExpectReceiversEnd(t, h)
	})
}
