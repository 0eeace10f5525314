package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"devlog/test/host"
)

// tried are the scripts in the page about the security review, with the result of each.
func tried(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../docs/security-review.md")
	host.Check(t, err)
	rows := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z]+\\.sh)` \\| [^|]+ \\| ([^|]+) \\|").FindAllStringSubmatch(string(page), -1) {
		rows[m[1]] = m[2]
	}
	return rows
}

// Each script of the page about the security review runs in a hostile container beside a host, one of
// its containers, and one that starts. The result is the one in the page. A script exits with 3 if the
// attack succeeded.
func TestReview(t *testing.T) {
	rows := tried(t)
	scripts, err := filepath.Glob("testdata/review/*.sh")
	host.Check(t, err)
	if len(scripts) != len(rows) || len(rows) < 10 {
		t.Errorf("%d scripts, %d rows", len(scripts), len(rows))
	}
	for _, path := range scripts {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			want, ok := rows[name]
			if !ok || want != "held" && want != "does not hold" {
				t.Fatalf("the page says %q", want)
			}
			script, err := os.ReadFile(path)
			host.Check(t, err)
			host.NeedContainers(t, "runc")
			v := newReviewed(t, string(script))
			r := v.hostile.Exec("/bin/sh", "-c", string(script), name, "/proc", strconv.Itoa(v.receiver), strconv.Itoa(v.watcher))
			t.Logf("receiver %d watcher %d exit code %d, %s%s", v.receiver, v.watcher, r.Code, r.Out, r.ErrOut)
			if t.Failed() || r.Code == 3 { // what the victim logged
				text, _ := os.ReadFile(v.victim.Log())
				t.Logf("%s", text)
			}
			switch {
			case want == "held" && r.Code == 0:
				v.expectWorks()
			case want == "does not hold" && r.Code == 3:
			default:
				t.Errorf("the page says that it %s", want)
			}
			v.end()
		})
	}
}

// reviewed is what the scripts attack.
type reviewed struct {
	t                 *testing.T
	h                 *host.Host
	daemon            *host.Daemon // the host's
	victim, hostile   *host.OCI
	receiver, watcher int
	etc               []string
}

// header returns the rest of a script's lines that begin with "#WORD ": for its image, its process or
// its annotations.
func header(script, word string) string {
	var text strings.Builder
	for line := range strings.Lines(script) {
		if said, ok := strings.CutPrefix(line, "#"+word+" "); ok {
			text.WriteString(said)
		}
	}
	return text.String()
}

// newReviewed makes the scene. If a script's container has annotations, it also has devlog's hook.
func newReviewed(t *testing.T, script string) *reviewed {
	t.Helper()
	v := &reviewed{t: t, h: host.NewHost(t)}
	host.NeedDaemons(t)
	v.daemon = host.NewDaemon(t, v.h, host.DaemonKinds[0], "/dev/log")
	v.daemon.Start()
	v.h.Must(host.HookOn(), "repair", "--host", "--keep")
	v.watcher = v.h.Receivers()[0]
	v.victim = v.container("victim")
	others := slices.DeleteFunc(v.h.Receivers(), func(pid int) bool { return pid == v.watcher })
	v.receiver = others[0]
	host.WantOnce(t, v.victim.Log(), "start-of-victim")
	v.hostile, _ = host.NewIntruder(t, v.h, header(script, "process")+host.Hold, false)
	if said := header(script, "annotation"); said != "" {
		annotations := map[string]any{}
		for line := range strings.Lines(said) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			text, err := strconv.Unquote(`"` + value + `"`)
			host.Check(t, err)
			annotations[key] = text
		}
		v.hostile.Config["annotations"] = annotations
		v.hostile.Mount("/run", "tmpfs", "tmpfs", "mode=755")
		v.hostile.Hook("createRuntime")
	}
	for line := range strings.Lines(header(script, "image")) {
		v.h.Must("sh", "-c", "cd "+v.hostile.Rootfs+" && "+line)
	}
	v.hostile.Write().Create()
	v.hostile.Start()
	v.h.Must("cp", "/usr/bin/flock", filepath.Join(v.hostile.Rootfs, "bin"))
	v.etc = host.Snap(t, v.h.Path("/"), "/etc")
	return v
}

// container returns a container with devlog's hook that logs its name.
func (v *reviewed) container(name string) *host.OCI {
	v.t.Helper()
	c := host.NewOCI(v.t, v.h, "runc", name, "client t 13 start-of-"+name+"\n"+host.Hold)
	c.Mount("/run", "tmpfs", "tmpfs", "mode=755")
	c.Hook("createRuntime")
	c.Write().Create()
	c.Start()
	return c
}

// expectWorks checks that nobody else was harmed: the host and the victim log to the right places, a
// container starts in time and logs, no process of devlog has ended, and no file was made elsewhere.
func (v *reviewed) expectWorks() {
	t, h := v.t, v.h
	t.Helper()
	began := time.Now()
	later := v.container("later")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the start of a container took %v", took)
	}
	if _, err := os.Stat(filepath.Join(v.hostile.Rootfs, "goes-on")); err == nil {
		host.Eventually(t, "the attack is over", func() bool {
			_, err := os.Stat(filepath.Join(v.hostile.Rootfs, "over"))
			return err == nil
		})
	}
	host.Eventually(t, "/dev/log is a link to the private socket", func() bool {
		to, err := os.Readlink(h.Path("/dev/log"))
		return err == nil && to == "/run/devlog/log"
	})
	if note, err := os.ReadFile(h.Path("/run/devlog/later.log")); err == nil {
		t.Errorf("it has started without a repair: %s", note)
	}
	for i, c := range []*host.OCI{v.victim, later} {
		text := fmt.Sprintf("after-the-attack-%d", i)
		if r := c.Exec("client", "t", "13", text); r.Code != 0 {
			t.Errorf("client: %+v", r)
		}
		host.WantOnce(t, c.Log(), text)
	}
	h.Must(host.Client, "host", "13", "to-the-host")
	host.WantOnce(t, v.daemon.Log, "to-the-host")
	if text, err := os.ReadFile(v.daemon.Log); err != nil || strings.Contains(string(text), "after-the-attack") {
		t.Errorf("the host has a container's message: %s, %v", text, err)
	}
	for what, pid := range map[string]int{"receiver": v.receiver, "watcher": v.watcher} {
		if !slices.Contains(h.Receivers(), pid) {
			t.Errorf("the %s has ended", what)
		}
	}
	if now := host.Snap(t, h.Path("/"), "/etc"); !slices.Equal(now, v.etc) {
		t.Errorf("/etc of the host has changed")
	}
	host.Release(t, later.Rootfs)
	later.WaitStopped()
}

func (v *reviewed) end() {
	v.t.Helper()
	for _, c := range []*host.OCI{v.hostile, v.victim} {
		v.h.Must(c.Args("delete", "--force")...)
	}
	v.h.Do(host.HookOn(), "undo", "--host") // ends the watcher; leftover names do not matter
	host.ExpectReceiversEnd(v.t, v.h)
}
