package engine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// unit reads a unit file of systemd: the values of each key, by "Section.Key".
func unit(t *testing.T, name string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(host.HookFile(t, name))
	host.Check(t, err)
	values := map[string][]string{}
	section := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		key, value, isValue := strings.Cut(line, "=")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = strings.Trim(line, "[]")
		case isValue && section != "" && value != "":
			values[section+"."+key] = append(values[section+"."+key], value)
		default:
			t.Errorf("%s: unexpected line %q", name, line)
		}
	}
	return values
}

// systemd's own opinion of the host's unit, where it is installed.
func TestHostServiceVerify(t *testing.T) {
	host.Need(t, "root", "systemd-analyze")
	h := host.NewHost(t)
	host.Install(t, h)
	r := h.Do("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", host.HookFile(t, "devlog-host.service"))
	if r.Code != 0 || strings.Contains(r.ErrOut, "devlog-host") {
		t.Errorf("systemd-analyze verify: %+v", r)
	}
}

// The unit's command, with the unit's privileges, prepares a host at boot. It leaves one
// process, a watcher, which prepares the host again when its daemon is restarted. In test/hosts
// systemd runs it.
func TestHostService(t *testing.T) {
	for _, k := range host.DaemonKinds[:2] {
		t.Run(k.String(), func(t *testing.T) {
			host.NeedContainers(t, "setpriv")
			host.NeedDaemons(t)
			service := unit(t, "devlog-host.service")
			if got := service["Service.Type"]; !slices.Equal(got, []string{"forking"}) {
				t.Errorf("the unit's main process is not the watcher: Type=%q", got)
			}
			if got := service["Service.RestrictSUIDSGID"]; got != nil {
				t.Errorf("RestrictSUIDSGID=%q makes openat2(2) fail", got)
			}
			var caps []string
			for _, c := range strings.Fields(service["Service.CapabilityBoundingSet"][0]) {
				caps = append(caps, "+"+strings.ToLower(strings.TrimPrefix(c, "CAP_")))
			}
			set := "--bounding-set=-all," + strings.Join(caps, ",")
			command := append([]string{"setpriv", "--no-new-privs", set}, strings.Fields(service["Service.ExecStart"][0])...)
			h := host.NewHost(t)
			host.Install(t, h)
			d := host.NewDaemon(t, h, k, "/dev/log")
			d.Start()
			onHost := hostPlace(h, d.Log)
			h.Must(command...)
			expectLink(t, h.Path("/dev/log"), "/run/devlog/log")
			expectOwnLogs(t, []place{onHost}, "boot")
			watchers := h.Receivers()
			if len(watchers) != 1 {
				t.Errorf("%d watchers: %q", len(watchers), h.Processes())
			}
			hook := filepath.Join(host.InstallDir, "devlog-hook")
			for _, when := range []string{"again", "and-again"} {
				d.Stop()
				d.Start()
				host.Eventually(t, "the host is prepared again", func() bool { return h.Do(hook, "check", "--host").Code == 0 })
				expectLink(t, h.Path("/dev/log"), "/run/devlog/log")
				expectOwnLogs(t, []place{onHost}, when)
			}
			if r := h.Must(command...); !strings.Contains(r.Out, "nothing to do") {
				t.Errorf("the second time: %+v", r)
			}
			if now := h.Receivers(); !slices.Equal(now, watchers) {
				t.Errorf("the watcher was %v and is %v", watchers, now)
			}
			h.Must(hook, "undo", "--host")
			expectOwnLogs(t, []place{onHost}, "undone")
		})
	}
}

// The host's SysV script leaves a watcher: the host stays prepared when its daemon is
// restarted, also while no container runs.
func TestHostInit(t *testing.T) {
	for _, k := range host.DaemonKinds[:2] {
		t.Run(k.String(), func(t *testing.T) {
			host.NeedContainers(t, "lxc")
			host.NeedDaemons(t)
			h := host.NewHost(t)
			host.Install(t, h)
			d := host.NewDaemon(t, h, k, "/dev/log")
			d.Start()
			onHost := hostPlace(h, d.Log)
			script := func(command string, code int) {
				t.Helper()
				// busybox has a stricter sh.
				if r := h.Do("busybox", "sh", host.HookFile(t, "devlog-host.init"), command); r.Code != code {
					t.Fatalf("devlog-host.init %s: %+v, want exit code %d", command, r, code)
				}
			}
			script("status", 3)
			script("start", 0)
			script("status", 0)
			expectOwnLogs(t, []place{onHost}, "prepared")
			script("start", 0) // there is a watcher already
			watchers := h.Receivers()
			if len(watchers) != 1 {
				t.Errorf("%d watchers: %q", len(watchers), h.Processes())
			}
			for _, when := range []string{"again", "and-again"} {
				d.Stop()
				d.Start()
				t.Logf("after the restart: %v", soonOwn(t, []place{onHost}, when))
				host.Eventually(t, "the host is prepared again", func() bool { return h.Do("busybox", "sh", host.HookFile(t, "devlog-host.init"), "status").Code == 0 })
				expectLink(t, h.Path("/dev/log"), "/run/devlog/log")
			}
			if now := h.Receivers(); !slices.Equal(now, watchers) {
				t.Errorf("the watcher was %v and is %v", watchers, now)
			}
			c := host.NewLXC(t, h, "next")
			c.Start(holdInit)
			script("status", 0)
			expectOwnLogs(t, []place{onHost, lxcPlace(t, c, c.Log())}, "next")
			stopAll(t, c)
			script("stop", 0)
			script("status", 3)
			if left := h.Receivers(); len(left) != 0 {
				t.Errorf("left running: %q", h.Processes())
			}
			script("nosuch", 2)
			expectOwnLogs(t, []place{onHost}, "undone")
			if st, err := os.Lstat(h.Path("/dev/log")); err != nil || st.Mode().Type() != os.ModeSocket {
				t.Errorf("/dev/log after the undo: %v, %v", st, err)
			}
		})
	}
}
