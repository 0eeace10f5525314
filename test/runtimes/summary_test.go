package runtimes

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"devlog/test/host"
)

// check without arguments reports on the host and all of its containers, ordinary ones too,
// those with trouble first; in a container, on that alone.
func TestCheckSummary(t *testing.T) {
	host.NeedContainers(t, "podman", "runc")
	h := host.NewHost(t)
	host.ListenOn(t, h, "/dev/log")
	h.Must(host.HookOn(), "repair", "--host") // proves that it is a host
	podman := host.NewPodman(t, h)
	for _, name := range []string{"db", "web"} {
		rootfs := filepath.Join(t.TempDir(), "rootfs")
		host.NewRootfs(t, rootfs)
		h.Detached(podman("run", "--detach", "--interactive", "--name", name, "--network", "none", "--ulimit", "nofile=1024:1024",
			"--ulimit", "nproc=4096:4096", "--rootfs", rootfs, "/bin/sh", "-c", "read _")...)
	}
	check := func(code int, want string) string {
		t.Helper()
		r := h.Do(host.HookOn(), "check")
		if r.Code != code || r.ErrOut != "" || !regexp.MustCompile(`^(?s:.*)`+want+`(?s:.*)$`).MatchString(r.Out) || strings.Count(r.Out, "\n") > 24 {
			t.Errorf("%+v\nwant %d and %s", r, code, want)
		}
		return r.Out
	}
	const heading = `\nSYSLOG\(\) +CONTAINER +ENGINE +PID +RECEIVER +WHY *\n`
	// devlog was not set up for them.
	check(0, heading+`broken +db +podman +\d+ +none +/dev/log: does not exist\nbroken +web +podman +\d+ .*\n`)
	h.Must(host.HookOn(), "repair", "web")
	check(0, heading+`broken +db +podman .*\nworks +web +podman +\d+ +devlogd *\n\ndevlog-hook check CONTAINER`)

	receivers := h.Receivers()
	if len(receivers) != 1 {
		t.Fatalf("the receivers are %v", receivers)
	}
	h.Must("kill", "-KILL", strconv.Itoa(receivers[0]))
	host.WaitDead(t, h, receivers[0])
	check(1, heading+`broken +web +podman +\d+ +gone +the receiver has gone: process \d+ was killed and is not restarted; repair starts another\nbroken +db `)
	h.Must(host.HookOn(), "repair", "web")

	cheap := host.NewCheap(t, h, "bare", host.CheapOptions{})
	out := check(1, heading+`broken +- +- +\d+ +none +/dev/log: link to /run/devlog/log, which does not exist here\nbroken +db `)
	if strings.Count(out, "broken") != 2 {
		t.Errorf("it says\n%s", out)
	}
	if r := cheap.Hook(true, "check"); r.Code != 1 || strings.Contains(r.Out, "CONTAINER") {
		t.Errorf("in a container: %+v", r)
	}
	if r := cheap.Hook(true, "repair"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	check(0, heading+`broken +db .*\nworks +- .* devlogd *\nworks +web `)

	var all struct {
		Host       struct{ Plan struct{ Verdict string } }
		Containers []struct{ Called, Engine string }
	}
	host.Check(t, json.Unmarshal([]byte(h.Must(host.HookOn(), "check", "--json").Out), &all))
	if len(all.Containers) != 3 || all.Host.Plan.Verdict != "healthy" {
		t.Errorf("JSON: %+v", all)
	}
	h.Must(podman("rm", "--force", "--time", "0", "web", "db")...)
	cheap.Stop()
	h.Must(host.HookOn(), "undo", "--host")
	host.ExpectReceiversEnd(t, h)
}
