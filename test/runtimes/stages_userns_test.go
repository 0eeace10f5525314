package runtimes

import (
	"fmt"
	"path/filepath"
	"testing"

	"devlog/test/host"
)

// With uid mappings, messages arrive at every stage, and what is made in the container belongs to its
// root.
func TestStageUserNamespace(t *testing.T) {
	eachStage(t, []string{"prestart", "createContainer", "startContainer", "poststart"}, func(t *testing.T, h *host.Host, runtime, stage string) {
		host.Journal(t, h) // /dev belongs to the host's root, and need not be written
		before := host.Tree(h)
		c := host.NewOCI(t, h, runtime, "c1", "until [ -S /run/systemd/journal/dev-log ]; do sleep 0.01; done\n"+host.ThreeClients("a")+host.Hold)
		c.Mapped()
		c.Hook(stage)
		c.AddHook("poststop")
		c.Write().Create()
		c.Start()
		log, leaves := c.Log(), host.OCILeaves("c1")[1:]
		if inside := stage == "createContainer" || stage == "startContainer"; inside {
			log, leaves = c.LogInside(), nil
		}
		host.WantOnce(t, log, host.ThreeTexts("a")...)
		_, pid := c.State()
		for _, name := range []string{"run/systemd/journal", "run/systemd/journal/dev-log"} {
			host.OwnedBy(t, h.Path(fmt.Sprintf("/proc/%d/root/%s", pid, name)), host.FirstID)
		}
		if leaves == nil {
			host.OwnedBy(t, log, host.FirstID)
			expectContained(t, h, h.Receivers()[0], c)
		}
		host.End(t, h, c, c.Rootfs)
		host.ExpectReceiversEnd(t, h)
		host.ExpectNew(t, h, before, leaves...)
		host.ExpectEmpty(t, filepath.Join(c.Rootfs, "run"))
	})
}
