package test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// What is passed over is said where the container's messages are, once, and fails
// nothing.
func TestPassedOver(t *testing.T) {
	const variable = "ignored: unknown environment variable DEVLOG_RULX"
	const annotation = "ignored: unknown annotation devlog.rule"
	t.Run("repair", func(t *testing.T) {
		needContainers(t)
		h := NewHost(t)
		c := NewCheap(t, h, "c1", cheapOptions{})
		r := c.Exec("env", "DEVLOG_RULX=*.* /x", hookIn, "repair")
		if r.Code != 0 || r.ErrOut != "devlog-hook: "+variable+"\n" {
			t.Errorf("repair: %+v", r)
		}
		wantOnce(t, c.Log(true), variable)
	})
	t.Run("hook", func(t *testing.T) {
		needContainers(t, "runc")
		h := NewHost(t)
		c := annotated(t, h, "runc", "createRuntime", threeClients("a")+hold, map[string]any{"devlog.rule": "*.* /x"})
		c.Create()
		c.Start()
		wantOnce(t, c.Log(), append(threeTexts("a"), annotation)...)
		// A program that goes on does not say it again.
		h.Must("kill", "-USR2", fmt.Sprint(h.Receivers()[0]))
		eventually(t, "the upgrade is in the log", func() bool {
			text, err := os.ReadFile(c.Log())
			return err == nil && strings.Contains(string(text), ": upgraded to devlogd ")
		})
		end(t, h, c, c.Rootfs)
		wantOnce(t, c.Log(), append(threeTexts("a"), annotation)...)
		if exists(h.Path("/run/devlog/c1.log")) {
			t.Error("it is noted as a failure")
		}
		expectReceiversEnd(t, h)
	})
}
