package test

import (
	"fmt"
	"path/filepath"
	"testing"
)

// With uid mappings: at every stage messages arrive, and what is made in the
// container is its root's.
func TestStageUserNamespace(t *testing.T) {
	eachStage(t, []string{"prestart", "createContainer", "startContainer", "poststart"}, func(t *testing.T, h *Host, runtime, stage string) {
		journal(t, h) // /dev is the host's root's, and need not be written
		before := hostTree(h)
		c := NewOCI(t, h, runtime, "c1", "until [ -S /run/systemd/journal/dev-log ]; do sleep 0.01; done\n"+threeClients("a")+hold)
		c.mapped()
		c.Hook(stage)
		c.AddHook("poststop")
		c.Write().Create()
		c.Start()
		log, leaves := c.Log(), ociLeaves("c1")[1:]
		if inside := stage == "createContainer" || stage == "startContainer"; inside {
			log, leaves = c.logInside(), nil
		}
		wantOnce(t, log, threeTexts("a")...)
		_, pid := c.State()
		for _, name := range []string{"run/systemd/journal", "run/systemd/journal/dev-log"} {
			ownedBy(t, h.Path(fmt.Sprintf("/proc/%d/root/%s", pid, name)), firstID)
		}
		if leaves == nil {
			ownedBy(t, log, firstID)
			expectContained(t, h, h.Receivers()[0], c)
		}
		end(t, h, c, c.Rootfs)
		expectReceiversEnd(t, h)
		expectNew(t, h, before, leaves...)
		expectEmpty(t, filepath.Join(c.Rootfs, "run"))
	})
}
