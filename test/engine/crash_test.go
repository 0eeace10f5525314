package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// crashCase is a repair that is killed.
type crashCase struct {
	name     string
	make     func(t *testing.T, h *host.Host) (receive func() string) // receive returns what the host's daemon gets, if it runs
	flags    []string
	host     bool // the host is repaired
	prepared bool // the host is prepared, and its daemon has bound again since
	inside   bool // the command is typed in the container
	run      string
	watched  bool // a started receiver repairs again
}

func quiet(f func(t *testing.T, h *host.Host)) func(t *testing.T, h *host.Host) func() string {
	return func(t *testing.T, h *host.Host) func() string { f(t, h); return nil }
}

func daemonAt(t *testing.T, h *host.Host) func() string { return host.ListenOn(t, h, "/dev/log") }

func directory(t *testing.T, h *host.Host) { host.Check(t, os.Mkdir(h.Path("/dev/log"), 0o755)) }

// Each is killed on one side only, to save time: the steps are the same.
var crashCases = []crashCase{
	{name: "adopt", make: quiet(host.Journal), inside: true},
	{name: "symlink/absent", make: quiet(nothing)},
	{name: "symlink/stale", make: quiet(host.StaleSocket)},
	{name: "symlink/listen", make: quiet(host.StaleSocket), flags: []string{"--listen", "/var/a/b", "--listen", "/srv/c", "--journal"}},
	{name: "bind/absent", make: quiet(nothing), inside: true},
	{name: "symlink/dangling", make: quiet(danglingLink), flags: []string{"--strategy", "symlink"}},
	{name: "symlink/preserve", make: daemonAt, prepared: true, inside: true},
	{name: "symlink/aside", make: quiet(directory), flags: []string{"--force"}},
	{name: "bind/inside", make: daemonAt, inside: true},
	{name: "bind/outside", make: daemonAt},
	{name: "bind/dangling", make: quiet(danglingLink), flags: []string{"--strategy", "bind"}, inside: true},
	{name: "tmpfs/host's run", make: quiet(nothing), run: "mount -n --rbind /run run"},
	{name: "tmpfs/read-only run", make: daemonAt, run: "mount -n -t tmpfs -o ro,mode=755 run run", inside: true},
	{name: "tmpfs/and bind", make: daemonAt, run: "mount -n --rbind /run run"},
	{name: "kept/symlink", make: quiet(host.StaleSocket), watched: true},
	{name: "kept/bind", make: daemonAt, watched: true},
	{name: "host/live", make: daemonAt, host: true},
	{name: "host/absent", make: quiet(nothing), host: true},
	{name: "host/stale", make: quiet(host.StaleSocket), host: true},
	{name: "host/kept", make: daemonAt, host: true, flags: []string{"--keep"}},
}

// crashing is a repair of a crashCase under test.
type crashing struct {
	t       *testing.T
	h       *host.Host
	c       *host.Cheap
	bin     string
	tt      crashCase
	receive func() string
	sent    int
}

// run runs a command of devlog-hook that is killed at the checkpoint with the number at;
// 0 for none. It returns false if it was not killed.
func (x *crashing) run(at int, command string) (r host.Result, killed bool) {
	x.t.Helper()
	args := []string{command}
	if command == "repair" {
		args = append(append(args, fmt.Sprintf("--no-auto-repair=%t", !x.tt.watched)), x.tt.flags...)
	}
	var line []string
	switch {
	case x.tt.host:
		line = append([]string{filepath.Join(x.bin, "devlog-hook"), args[0], "--host"}, args[1:]...)
		if command == "repair" {
			line = slices.DeleteFunc(line, func(s string) bool { return strings.HasPrefix(s, "--no-auto-repair") })
		}
	default:
		line = x.c.HookArgs(x.tt.inside, args...)
	}
	r = x.h.Do(append([]string{"env", fmt.Sprintf("DEVLOG_CRASH=%d", at)}, line...)...)
	killed = r.Code < 0 || r.Code > 128
	if _, err := os.Lstat(x.h.Path("/dev/.devlog-host")); err == nil && at == 0 && command == "undo" && !x.tt.host && !x.tt.prepared {
		x.h.Must(host.HookOn(), "undo", "--host") // the container's repair has prepared it
	}
	if at == 0 && r.Code != 0 {
		x.t.Errorf("%s: %+v", command, r)
	}
	if at > 0 && r.Code != 0 && !killed {
		x.t.Fatalf("%s, killed at %d: %+v", command, at, r)
	}
	return r, killed
}

// reachable sends a message on the host, and finds it at the daemon, which must be
// reachable all the time.
func (x *crashing) reachable() {
	x.t.Helper()
	if x.receive == nil {
		return
	}
	x.sent++
	text := fmt.Sprintf("message %d", x.sent)
	x.h.Must(host.Client, "host", "13", text)
	got := x.receive()
	for strings.Contains(got, "devlogd: ") { // the host's watcher logs to the host's daemon too
		got = x.receive()
	}
	if !strings.HasSuffix(got, ": "+text) {
		x.t.Fatalf("received %q, want %q", got, text)
	}
}

// sharerSees fails if the shared /dev/log is neither what it was nor what a repair makes
// it. Only while a file is being renamed may the name be missing.
func (x *crashing) sharerSees(before host.World) {
	x.t.Helper()
	now := host.Snap(x.t, x.h.Path("/"), "/dev")
	for _, line := range now {
		if strings.Contains(line, " /dev/log") && !strings.Contains(line, "/dev/log.devlog-old") &&
			!slices.Contains(before.Host, line) && !strings.HasSuffix(line, " /dev/log -> /run/devlog/log") &&
			(x.tt.name != "bind/absent" || !strings.HasPrefix(line, "S") || host.CanConnect(x.h.Path("/dev/log"))) {
			x.t.Errorf("/dev/log is %q", line)
		}
	}
	if was, is := host.Named(before.Host, "/dev/log"), host.Named(now, "/dev/log"); was && !is && !strings.Contains(x.tt.name, "aside") {
		x.t.Error("/dev/log has gone")
	}
}

// expectReceiver expects exactly one receiver, the recorded one, after the repair that
// follows a repair that was killed at the checkpoint.
func (x *crashing) expectReceiver(at int) {
	x.t.Helper()
	want := 1
	if x.tt.host && !slices.Contains(x.tt.flags, "--keep") {
		want = 0
	}
	if !host.WaitFor(func() bool { return len(x.h.Receivers()) == want }) {
		x.t.Fatalf("killed at %d: receivers %v, want %d", at, x.h.Receivers(), want)
	}
	var record struct{ Receiver, Starting int }
	dir := "/run/devlog/"
	if !x.tt.host {
		dir = fmt.Sprintf("/proc/%d/root%s", x.c.PID, dir)
	}
	text, err := os.Readlink(x.h.Path(dir + ".devlog-repair"))
	host.Check(x.t, err)
	host.Check(x.t, json.Unmarshal([]byte(text), &record))
	if record.Starting != 0 || (record.Receiver != 0) != (want != 0) {
		x.t.Errorf("killed at %d: the record is %s", at, text)
	}
}

// expectHealthy fails if there is still something to repair or to remove.
func (x *crashing) expectHealthy() {
	x.t.Helper()
	line := x.c.HookArgs(x.tt.inside, "check")
	if x.tt.host { // check would also say what the container needs
		line = []string{filepath.Join(x.bin, "devlog-hook"), "repair", "--host", "--dry-run"}
	}
	if r := x.h.Do(line...); r.Code != 0 || x.tt.host && !strings.HasPrefix(r.Out, "nothing to do") {
		x.t.Errorf("%q: %+v", line, r)
	}
	all := append(host.Snap(x.t, x.h.Path("/"), "/dev", "/run"), host.Snap(x.t, x.c.Path("/"), "/dev", "/run")...)
	if left := leftovers(all); len(left) != 0 {
		x.t.Errorf("left over: %q", left)
	}
}

// A repair and an undo that are killed at any moment.
func TestEngineCrash(t *testing.T) {
	for _, tt := range crashCases {
		t.Run(tt.name, func(t *testing.T) {
			host.NeedContainers(t)
			crash(t, tt)
		})
	}
}

func crash(t *testing.T, tt crashCase) {
	bin, err := host.CrashDir()
	host.Check(t, err)
	h := host.NewHost(t)
	x := &crashing{t: t, h: h, bin: bin, tt: tt}
	if tt.prepared {
		h.Must(host.HookOn(), "repair", "--host")    // no daemon runs yet
		host.Check(t, os.Remove(h.Path("/dev/log"))) // as a daemon that starts does
	}
	x.receive = tt.make(t, h)
	x.c = host.NewCheap(t, h, "c1", host.CheapOptions{Run: tt.run, Bin: bin})
	before := host.Look(t, h, x.c)
	// A kill between the creation of a directory and its record, or between their
	// removal, leaves an empty directory.
	may := []string{"/run/devlog", "/run/systemd", "/run/systemd/journal", "/var/a", "/srv"}
	if tt.name == "bind/absent" {
		may = append(may, "/dev/log") // others may have mounted over it by now
	}
	for n := 1; ; n++ {
		_, killed := x.run(n, "repair")
		x.reachable()
		x.sharerSees(before)
		x.run(0, "repair")
		x.expectReceiver(n)
		x.expectHealthy()
		x.reachable()
		x.run(0, "undo")
		x.expectBefore(before, may, fmt.Sprintf("repair, killed at %d", n))
		if !killed {
			if n < 2 {
				t.Errorf("the repair has no checkpoint")
			}
			break
		}
	}
	for n := 1; ; n++ {
		_, killed := x.run(n, "repair")
		x.run(0, "undo")
		x.reachable()
		x.expectBefore(before, may, fmt.Sprintf("repair, killed at %d, and undo", n))
		if !killed {
			break
		}
	}
	for n := 1; ; n++ {
		x.run(0, "repair")
		_, killed := x.run(n, "undo")
		x.reachable()
		x.sharerSees(before)
		x.run(0, "undo")
		x.reachable()
		x.expectBefore(before, may, fmt.Sprintf("undo, killed at %d", n))
		if !killed {
			break
		}
	}
}

// expectBefore compares everything to what it was before the repair.
func (x *crashing) expectBefore(before host.World, may []string, when string) {
	x.t.Helper()
	failed := x.t.Failed()
	host.GiveBack(x.t, x.h)
	after := host.Look(x.t, x.h, x.c)
	if x.tt.prepared {
		// A prepared host stays prepared. The daemon's new socket is beside the link.
		x.expectPrepared()
		after = host.Look(x.t, x.h, x.c)
	}
	host.ExpectWorld(x.t, before, after, may...)
	if n := len(x.h.Receivers()); n != 0 {
		x.t.Errorf("%d receivers", n)
	}
	if !failed && x.t.Failed() {
		x.t.Fatalf("this was after: %s", when)
	}
}

// expectPrepared expects that the host is still prepared, and makes the daemon bind its
// socket to /dev/log again.
func (x *crashing) expectPrepared() {
	x.t.Helper()
	log, kept := x.h.Path("/dev/log"), x.h.Path("/dev/.devlog-host")
	switch to, err := os.Readlink(log); {
	case errors.Is(err, unix.EINVAL): // still the daemon's socket
	case err != nil || to != "/run/devlog/log":
		x.t.Fatalf("/dev/log points to %q, %v", to, err)
	default:
		host.Check(x.t, os.Remove(log))
		host.Check(x.t, os.Link(kept, log))
	}
}

// A repair is killed while it replaces a receiver whose socket has lost its name.
func TestEngineCrashReplaces(t *testing.T) {
	host.NeedContainers(t)
	bin, err := host.CrashDir()
	host.Check(t, err)
	h := host.NewHost(t)
	host.Journal(t, h)
	x := &crashing{t: t, h: h, bin: bin, tt: crashCase{}}
	x.c = host.NewCheap(t, h, "c1", host.CheapOptions{Bin: bin})
	x.run(0, "repair")
	for n := 1; ; n++ {
		host.Check(t, os.Remove(x.c.Path("/run/devlog/log")))
		_, killed := x.run(n, "repair")
		x.run(0, "repair")
		x.expectReceiver(n)
		x.expectHealthy()
		if !killed {
			break
		}
	}
}
