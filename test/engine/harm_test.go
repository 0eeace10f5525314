package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devlog/test/host"
)

// mistakes are settings with which a repair must fail, its exit code, and what its message
// must name.
var mistakes = []struct {
	name  string
	flags []string
	code  int
	names string
}{
	{"wrong rule", []string{"--rule", "nosuch.facility /var/log/x"}, 2, "nosuch"},
	{"missing receiver", []string{"--receiver", "/nosuch/devlogd"}, 4, "/nosuch/devlogd"},
	{"unreadable config", []string{"--config", "/nosuch/devlogd.conf"}, 4, "/nosuch/devlogd.conf"},
	{"log not creatable", []string{"--rule", "*.* /dev/null/log"}, 4, "/dev/null/log"},
	{"shared socket", []string{"--socket", "/dev/own/log"}, 2, "/dev/own/log"},
	{"socket not creatable", []string{"--strategy", "symlink", "--socket", "/etc/passwd/log"}, 4, "/etc/passwd"},
	{"unknown flag", []string{"--nosuch"}, 2, "nosuch"},
}

// expectRefusal checks the words of a failure: one line, which names the cause.
func expectRefusal(t *testing.T, r host.Result, code int, names string) {
	t.Helper()
	if r.Code != code || strings.Count(r.ErrOut, "\n") != 1 || !strings.Contains(r.ErrOut, names) {
		t.Errorf("%+v, want exit code %d and one line that names %s", r, code, names)
	}
}

// A repair that fails leaves everything as it was.
func TestRepairMistakes(t *testing.T) {
	for _, m := range mistakes {
		for _, s := range host.DevLogs[:3] { // absent, stale socket, journal
			t.Run(m.name+"/"+s.Name, func(t *testing.T) {
				host.NeedContainers(t, "crun")
				h := host.NewHost(t)
				s.Make(t, h)
				c := host.StartPlain(t, h, "crun")
				before := host.Tree(h)
				inside := fmt.Sprint(listing(t, c.Rootfs))
				expectRefusal(t, h.Do(append([]string{host.HookOn(), "repair", "--pid", fmt.Sprint(c.Pid), "--name", "plain"}, m.flags...)...), m.code, m.names)
				expectNothingNew(t, h, before)
				expectRefusal(t, c.Exec(append([]string{host.HookIn, "repair"}, m.flags...)...), m.code, m.names)
				expectNothingNew(t, h, before)
				if now := fmt.Sprint(listing(t, c.Rootfs)); now != inside {
					t.Errorf("the container's root directory was\n%s\nand is\n%s", inside, now)
				}
				c.Stop()
			})
		}
	}
}

// expectNothingNew compares the host to what it was, except devlog's note of the failure,
// and expects that no receiver is left.
func expectNothingNew(t *testing.T, h *host.Host, before []string) {
	t.Helper()
	host.ExpectNew(t, h, before, failureLog(h)...)
	if !host.WaitFor(func() bool { return len(h.Receivers()) == 0 }) {
		t.Errorf("left running: %q", h.Processes())
	}
}

// failureLog is where a hook on the host writes its error.
func failureLog(h *host.Host) (names []string) {
	for _, name := range []string{"/run/devlog", "/run/devlog/plain.log"} {
		if _, err := os.Lstat(h.Path(name)); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// listing returns the parts of a container's root directory that a repair could change.
func listing(t *testing.T, root string) (names []string) {
	t.Helper()
	for _, dir := range []string{"etc", "run", "var/log"} {
		host.Check(t, filepath.WalkDir(filepath.Join(root, dir), func(path string, d os.DirEntry, err error) error {
			names = append(names, path)
			return err
		}))
	}
	return names
}

// With --on-error fail, a hook's failure makes the container's start fail, with the hook's
// message.
func TestHookMistakes(t *testing.T) {
	host.EachOCI(t, func(t *testing.T, h *host.Host, runtime, stage string) {
		host.StaleSocket(t, h)
		before := host.Tree(h)
		for _, m := range mistakes {
			c := host.NewOCI(t, h, runtime, "plain", "exit 0")
			c.Hook(stage, append([]string{"--on-error", "fail"}, m.flags...)...)
			c.Write()
			r := h.Do(c.Args("run")...)
			if r.Code == 0 {
				t.Errorf("%s: the container runs: %+v", m.name, r)
			}
			// crun sends the hook's standard error to /dev/null.
			if runtime == "runc" && !strings.Contains(r.ErrOut, m.names) {
				t.Errorf("%s: %+v, want %s to be named", m.name, r, m.names)
			}
			expectNothingNew(t, h, before)
			host.ExpectEmpty(t, filepath.Join(c.Rootfs, "run"))
			if log, err := os.ReadFile(h.Path("/run/devlog/plain.log")); err == nil && !strings.Contains(string(log), m.names) {
				t.Errorf("%s: the hook's log lacks %s: %s", m.name, m.names, log)
			}
			h.Do(c.Args("delete", "--force")...) // the runtime may have left something
		}
	})
}

// The same for LXC's start hook. LXC hides its output, which is in the kernel's log too.
func TestHookMistakesLXC(t *testing.T) {
	host.NeedContainers(t, "lxc")
	h := host.NewHost(t)
	host.StaleSocket(t, h)
	before := host.Tree(h)
	for env, names := range map[string]string{
		"DEVLOG_RULE=nosuch.facility /var/log/x": "nosuch", "DEVLOG_RECEIVER=/nosuch/devlogd": "/nosuch/devlogd",
		"DEVLOG_CONFIG=/nosuch/devlogd.conf": "/nosuch/devlogd.conf", "DEVLOG_RULE=*.* /dev/null/log": "/dev/null/log",
		"DEVLOG_SOCKET=/etc/passwd/log": "/etc/passwd",
	} {
		name := fmt.Sprintf("wrong-%d", time.Now().UnixNano()) // the kernel's log is the machine's
		c := host.NewLXC(t, h, name, "lxc.environment = "+env, "lxc.environment = DEVLOG_ON_ERROR=fail")
		if r := c.Execute("exit 0"); r.Code == 0 {
			t.Errorf("%s: the container runs: %+v", env, r)
		}
		lines := 0
		for line := range strings.Lines(h.Must("dmesg").Out) {
			if _, words, ok := strings.Cut(line, "devlog-hook: container "+name+": "); ok {
				lines++
				if !strings.Contains(words, names) {
					t.Errorf("%s: it says %q, want %s to be named", env, words, names)
				}
			}
		}
		if lines != 1 {
			t.Errorf("%s: the kernel's log has %d lines", env, lines)
		}
		expectNothingNew(t, h, before)
		note := filepath.Join(c.Rootfs, "run/devlog", name+".log")
		if text, err := os.ReadFile(note); err != nil || !strings.Contains(string(text), names) {
			t.Errorf("%s: it is noted %q, %v", env, text, err)
		}
		host.Check(t, os.Remove(note))
		host.ExpectEmpty(t, filepath.Join(c.Rootfs, "run/devlog"))
		host.ExpectEmpty(t, filepath.Join(c.Rootfs, "var/log"))
	}
}

// Another program's live socket is left alone: where mounts are denied the repair is
// refused, elsewhere it changes the container only.
func TestLiveSocket(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *host.Host, c host.Running) {
		receive := host.Listen(t, h.Path("/dev/log"))
		before := host.Tree(h)
		say := func(text string) {
			t.Helper()
			if r := c.Exec("client", "t", "13", text); r.Code != 0 {
				t.Errorf("client: %+v", r)
			}
		}
		if !c.Privileged {
			expectRefusal(t, c.Exec(host.HookIn, "repair"), 3, "repair --host")
		}
		expectNothingNew(t, h, before)
		say("alive")
		if got := receive(); !strings.HasSuffix(got, ": alive") {
			t.Errorf("received %q", got)
		}
		if r := h.Do(host.HookOn(), "repair", "--pid", fmt.Sprint(c.Pid), "--name", "plain"); r.Code != 0 || !strings.Contains(r.Out, "by bind:") {
			t.Fatalf("repair: %+v", r)
		}
		say("own")
		host.WantOnce(t, h.Path("/var/log/devlog/plain/messages"), "own")
		h.Must("logger", "host")
		if got := receive(); !strings.HasSuffix(got, " host") {
			t.Errorf("received %q", got)
		}
		c.Stop()
		host.ExpectReceiversEnd(t, h)
		host.ExpectNew(t, h, before, host.OCILeaves("plain")[1:]...)
	})
}
