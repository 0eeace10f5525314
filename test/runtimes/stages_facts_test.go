package runtimes

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// probe is a hook that records where it runs, in files named after the stage $2 in the directory $1:
// its state, and facts, one a line.
const probe = `#!/bin/sh
cat >$1/$2.state
for fd in 3 4 5 6 7 8 9; do [ ! -e /proc/self/fd/$fd ] || leaked="$leaked $fd"; done
{
echo "mnt=$(readlink /proc/self/ns/mnt)"
echo "pid=$(readlink /proc/self/ns/pid)"
echo "root=$(stat -c %d:%i /)"
echo "cwd=$(readlink /proc/self/cwd)"
echo "parent=$PPID"
echo "user=$(id -u)"
echo "leaked=$leaked"
while read -r name value more; do case $name in
CapEff:) echo "caps=$value" ;;
NoNewPrivs:) echo "nnp=$value" ;;
NSpid:) [ "$more" ] && echo "proc=host" || echo "proc=own" ;;
esac; done </proc/self/status
} >$1/$2
`

// facts are what the repair relies on about a hook's place.
type facts struct {
	ns    string // whose mount and PID namespaces, host or container
	root  string // whose root directory is its "/"
	proc  string // host: /proc shows an outer PID namespace; own
	cwd   string // rootfs, bundle, or a path
	user  string
	full  bool   // it has the runtime's capabilities, and can gain more
	state string // state.pid: host, or what it is
}

// What the runtimes do at each stage: target.OfHook relies on it.
func TestStageFacts(t *testing.T) {
	const free = "?" // nothing relies on it
	ofHost := facts{"host", "host", "own", free, "0", true, "host"}
	stopped := facts{"host", "host", "own", free, "0", true, ""}
	entered := facts{"container", "host", "host", "", "0", true, ""}
	inside := facts{"container", "container", "own", "/", "1000", false, ""}
	with := func(f facts, cwd, state string) facts {
		f.cwd, f.state = cwd, state
		return f
	}
	for runtime, want := range map[string]map[string]facts{
		"runc": {"prestart": ofHost, "createRuntime": ofHost, "poststart": ofHost, "createContainer": with(entered, "rootfs", "1"),
			"startContainer": with(inside, "/", "1"), "poststop": with(stopped, free, "")},
		"crun": {"prestart": ofHost, "createRuntime": ofHost, "poststart": ofHost, "createContainer": with(entered, "bundle", "0"),
			"startContainer": with(inside, "/", "0"), "poststop": with(stopped, free, "0")},
	} {
		t.Run(runtime, func(t *testing.T) {
			host.NeedContainers(t, runtime)
			h := host.NewHost(t)
			c := host.NewOCI(t, h, runtime, "c1", host.Hold)
			process := c.Config["process"].(map[string]any)
			process["user"], process["noNewPrivileges"] = map[string]any{"uid": 1000, "gid": 1000}, true
			tmp := filepath.Join(c.Rootfs, "tmp")
			host.Check(t, os.Chmod(tmp, 0o777))
			host.Check(t, os.WriteFile(filepath.Join(c.Rootfs, "bin/probe"), []byte(probe), 0o755))
			hooks := map[string]any{}
			for stage := range want {
				path, to := filepath.Join(c.Rootfs, "bin/probe"), tmp
				if stage == "startContainer" {
					path, to = "/bin/probe", "/tmp"
				}
				hooks[stage] = []any{map[string]any{"path": path, "args": []string{"probe", to, stage}, "env": []string{"PATH=/bin:/usr/bin"}}}
			}
			c.Config["hooks"] = hooks
			c.Write().Create()
			_, pid := c.State()
			c.Start()
			host.Check(t, host.WaitHeld(t, c.Rootfs).Close()) // lets it go on
			containers := map[string]string{"root": fileID(t, c.Rootfs)}
			hosts := map[string]string{"root": fileID(t, h.Path("/"))}
			// At createContainer the namespaces are those of startContainer.
			in := readProbe(t, tmp, "startContainer")
			for _, ns := range []string{"mnt", "pid"} {
				var err error
				hosts[ns], err = os.Readlink(h.Path("/proc/1/ns/" + ns))
				host.Check(t, err)
				if containers[ns] = in[ns]; in[ns] == hosts[ns] {
					t.Errorf("startContainer runs in the host's %s namespace", ns)
				}
			}
			c.WaitStopped()
			h.Must(c.Args("delete")...)
			for stage, f := range want {
				got := readProbe(t, tmp, stage)
				whose := map[string]map[string]string{"host": hosts, "container": containers}
				expectFact(t, stage, "mnt", got["mnt"], whose[f.ns]["mnt"])
				expectFact(t, stage, "pid", got["pid"], whose[f.ns]["pid"])
				expectFact(t, stage, "root", got["root"], whose[f.root]["root"])
				expectFact(t, stage, "proc", got["proc"], f.proc)
				expectFact(t, stage, "user", got["user"], f.user)
				if cwd := map[string]string{"rootfs": c.Rootfs, "bundle": c.Bundle, "/": "/"}[f.cwd]; f.cwd != free {
					expectFact(t, stage, "cwd", got["cwd"], cwd)
				}
				if f.ns == "container" { // target.OfHook takes it for the container's first process
					expectFact(t, stage, "parent", got["parent"], "1")
				}
				expectFact(t, stage, "nnp", got["nnp"], map[bool]string{true: "0", false: "1"}[f.full])
				if full := strings.HasSuffix(got["caps"], "ffffff"); full != f.full {
					t.Errorf("%s: capabilities %s", stage, got["caps"])
				}
				// Leaked files would keep the runtime waiting.
				if leaks := runtime == "runc" && stage == "createContainer"; leaks != (got["leaked"] != "") {
					t.Errorf("%s: leaked descriptors:%s", stage, got["leaked"])
				}
				expectState(t, stage, filepath.Join(tmp, stage+".state"), c, f.state, pid)
			}
		})
	}
}

func expectFact(t *testing.T, stage, what, got, want string) {
	t.Helper()
	if got != want || want == "" {
		t.Errorf("%s: %s is %q, want %q", stage, what, got, want)
	}
}

// expectState checks the container's process and bundle in a state document.
func expectState(t *testing.T, stage, file string, c *host.OCI, want string, hostPID int) {
	t.Helper()
	text, err := os.ReadFile(file)
	host.Check(t, err)
	var s struct {
		ID, Bundle string
		Pid        *int
	}
	host.Check(t, json.Unmarshal(text, &s))
	if want == "host" {
		want = fmt.Sprint(hostPID)
	}
	if (s.Pid == nil) != (want == "") || s.Pid != nil && fmt.Sprint(*s.Pid) != want {
		t.Errorf("%s: pid is not %q: %s", stage, want, text)
	}
	if bundleKnown := c.Runtime != "crun" || stage != "startContainer"; s.ID != c.ID || (s.Bundle == c.Bundle) != bundleKnown {
		t.Errorf("%s: %s", stage, text)
	}
}

func readProbe(t *testing.T, dir, stage string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, stage))
	host.Check(t, err)
	facts := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		facts[name] = value
	}
	return facts
}

// fileID returns the file's identity, as stat(1) writes it.
func fileID(t *testing.T, name string) string {
	t.Helper()
	id, _ := fileAt(t, name)
	return fmt.Sprintf("%d:%d", id[0], id[1])
}
