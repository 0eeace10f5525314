package runtimes

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"devlog/test/host"
)

// check says that a receiver was killed, and a repair starts another one.
func TestReceiverKilled(t *testing.T) {
	host.NeedContainers(t, "runc")
	h := host.NewHost(t)
	c := host.NewOCI(t, h, "runc", "c1", host.Hold+"exec sleep 1000")
	c.Hook("createRuntime")
	c.Write().Create()
	c.Start()
	_, pid := c.State()
	hook := func(args ...string) host.Result {
		return h.Do(append([]string{filepath.Join(host.BinDir, "devlog-hook")}, append(args, "--pid", strconv.Itoa(pid))...)...)
	}
	if r := hook("check"); r.Code != 0 || !strings.Contains(r.Out, "; not restarted if killed\n") {
		t.Errorf("check: %+v", r)
	}
	if r := c.Exec("/opt/devlog/devlog-hook", "check"); r.Code != 0 || !strings.Contains(r.Out, "receiver  cannot be seen from here: on the host") {
		t.Errorf("check inside: %+v", r)
	}
	h.Must("kill", "-9", strconv.Itoa(h.Receivers()[0]))
	host.ExpectReceiversEnd(t, h)
	r := hook("check")
	for _, says := range []string{"where nobody listens", "broken: connection refused", "was killed and is not restarted; repair starts another"} {
		if r.Code != 1 || !strings.Contains(r.Out, says) {
			t.Errorf("check lacks %q: %+v", says, r)
		}
	}
	if r := hook("repair"); r.Code != 0 || len(h.Receivers()) != 1 {
		t.Errorf("repair: %+v, receivers %v", r, h.Receivers())
	}
	h.Must(c.Args("delete", "--force")...)
	host.ExpectReceiversEnd(t, h)
}
