package engine

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"devlog/test/host"
)

// asUser returns a command that a user other than root types on the host.
func asUser(h *host.Host, args ...string) host.Result {
	return h.Do(append([]string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"}, args...)...)
}

// A user who lacks privileges is told so in one line, and nothing changes.
func TestNotRoot(t *testing.T) {
	const root = "hint: run this as root\n"
	for _, s := range []struct {
		name     string
		prepared bool
		args     []string // %pid is a container's process
		code     int
		says     []string
	}{
		{"repair", false, []string{"repair"}, 3, []string{"refused: ", root}},
		{"dry run", false, []string{"repair", "--dry-run"}, 3, []string{"refused: ", root}},
		{"repair host", false, []string{"repair", "--host"}, 3, []string{"refused: cannot see who listens on /dev/log", root}},
		{"forced", false, []string{"repair", "--host", "--force"}, 3, []string{"refused: /dev cannot be written", root}},
		{"undo host", true, []string{"undo", "--host"}, 3, []string{"undo the repair recorded in /run/devlog: permission denied; ", root}},
		{"repair of a container", false, []string{"repair", "--pid", "%pid"}, 3, []string{"find process ", "permission denied; ", root}},
		{"check of a container", false, []string{"check", "--pid", "%pid"}, 3, []string{"find process ", "permission denied; ", root}},
		{"no right is missing", false, []string{"undo"}, 0, []string{"nothing to do: no repair is recorded here\n"}},
		{"another file", false, []string{"repair", "--root", "%file"}, 3, []string{"/dev/log is a regular file", "with --force\n"}},
	} {
		t.Run(s.name, func(t *testing.T) {
			host.NeedContainers(t, "setpriv")
			h := host.NewHost(t)
			_ = host.ListenOn(t, h, "/dev/log")
			if s.prepared {
				h.Must(host.HookOn(), "repair", "--host")
			}
			c := host.NewCheap(t, h, "c1", host.CheapOptions{})
			h.Must("sh", "-c", "mkdir -p /run/other/dev && touch /run/other/dev/log")
			before := host.Tree(h)
			line := []string{host.HookOn()}
			for _, arg := range s.args {
				line = append(line, strings.NewReplacer("%pid", strconv.Itoa(c.PID), "%file", "/run/other").Replace(arg))
			}
			r := asUser(h, line...)
			if said := r.Out + r.ErrOut; r.Code != s.code || strings.Count(said, "\n") != 1 || slices.ContainsFunc(s.says, func(want string) bool {
				return !strings.Contains(said, want)
			}) {
				t.Errorf("%q: %+v, want %d and %q", line, r, s.code, s.says)
			}
			host.ExpectNew(t, h, before)
		})
	}
}

// check reports a prepared host as healthy to every user.
func TestNotRootChecks(t *testing.T) {
	host.NeedContainers(t, "setpriv")
	h := host.NewHost(t)
	_ = host.ListenOn(t, h, "/dev/log")
	h.Must(host.HookOn(), "repair", "--host")
	for _, flag := range []string{"", "--host"} {
		r := asUser(h, strings.Fields(host.HookOn()+" check "+flag)...)
		if r.Code != 0 || !strings.Contains(r.Out, "repair    nothing to do\n") || r.ErrOut != "" {
			t.Errorf("check %s: %+v", flag, r)
		}
	}
	// A container with the host's /run is not taken for the host.
	c := host.NewCheap(t, h, "c1", host.CheapOptions{Run: "mount -n --rbind /run run"})
	expectRefusal(t, c.Exec(host.HookIn, "repair", "--host"), 3, "may be a container")
	if _, err := os.Lstat(h.Path("/dev/.devlog-host")); err != nil {
		t.Error(err)
	}
}
