package test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// enginePath is where deps.sh has unpacked a file of Docker or containerd.
func enginePath(name string) string {
	return unpacked(filepath.Join("engines", name))
}

// engineGroup is the cgroup of all containers that a test has an engine start.
func engineGroup() string { return fmt.Sprintf("devlog-test-%d", os.Getpid()) }

// engineCommand is a command that finds the engines' programs and libraries.
// HOME is where clients would keep their own configuration.
func engineCommand(args ...string) []string {
	libs := enginePath("lib/x86_64-linux-gnu") + ":" + enginePath("usr/lib/x86_64-linux-gnu")
	path := enginePath("usr/sbin") + ":" + enginePath("usr/bin") + ":/usr/sbin:/usr/bin:/sbin:/bin"
	return append([]string{"env", "PATH=" + path, "LD_LIBRARY_PATH=" + libs, "HOME=/run"}, args...)
}

// newEngineHost makes a fake host with directories of its own for all that
// engines write.
func newEngineHost(t *testing.T) *Host {
	t.Helper()
	h := NewHost(t)
	overlay(h, "/etc")
	overlay(h, "/opt")
	return h
}

// startEngine starts an engine's daemon on the host and waits until the
// client's command succeeds. It is stopped at the end of the test.
func startEngine(t *testing.T, h *Host, client []string, args ...string) {
	t.Helper()
	const pidFile = "/run/engine.pid"
	line := engineCommand(append([]string{"sh", "-c", `echo $$ >` + pidFile + `; exec "$@"`, "sh"}, args...)...)
	cmd := h.Command(context.Background(), line...) // it is stopped after the test's context
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	check(t, cmd.Start())
	ended := make(chan struct{})
	var end error
	go func() {
		end = cmd.Wait()
		close(ended)
	}()
	running := func() bool {
		select {
		case <-ended:
			return false
		default:
			return true
		}
	}
	t.Cleanup(func() {
		if pid, err := os.ReadFile(h.Path(pidFile)); err == nil && running() {
			check(t, h.Command(context.Background(), "kill", "-TERM", strings.TrimSpace(string(pid))).Run())
		}
		<-ended
		if t.Failed() {
			t.Logf("%s: %v\n%s", args[0], end, &said)
		} else if end != nil {
			t.Errorf("end of %s: %v", args[0], end)
		}
		removeGroup(t, engineGroup())
	})
	answers := false
	if !waitFor(func() bool {
		answers = h.Do(engineCommand(client...)...).Code == 0
		return answers || !running()
	}) || !answers {
		t.Fatalf("%s does not answer", args[0])
	}
}

// removeGroup removes a cgroup in which nothing runs any more, from every
// hierarchy.
func removeGroup(t *testing.T, name string) {
	t.Helper()
	groups, err := filepath.Glob("/sys/fs/cgroup/*/" + name)
	check(t, err)
	if st, err := os.Stat("/sys/fs/cgroup/" + name); err == nil && st.IsDir() {
		groups = append(groups, "/sys/fs/cgroup/"+name) // cgroup v2 alone
	}
	for _, group := range groups {
		var dirs []string
		check(t, filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil //nolint:nilerr // it may go meanwhile
		}))
		for _, dir := range slices.Backward(dirs) {
			eventually(t, dir+" is empty", func() bool { return os.Remove(dir) == nil || !exists(dir) })
		}
	}
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// printed is what "devlog-hook config" prints on the host, with its path in it.
func printed(h *Host, kind string) string {
	h.t.Helper()
	return h.Must(filepath.Join(binDir, "devlog-hook"), "config", kind).Out
}

// binaryName finds the runtime in containerd's idea of its configuration.
var binaryName = regexp.MustCompile(`runtimes\.devlog\.options\]\s+BinaryName = "(.*)"`)

// containerd with the printed runtime: it takes the configuration, and a
// container that it starts with that runtime logs.
func TestContainerd(t *testing.T) {
	needContainers(t, "containerd", "runc")
	h := newEngineHost(t)
	before := hostTree(h)
	dir := t.TempDir()
	const config = "/etc/containerd/config.toml"
	h.Must("mkdir", "-p", filepath.Dir(config))
	h.Must(engineCommand("sh", "-c", "containerd config default | sed 's/SystemdCgroup = false/SystemdCgroup = true/' >"+config)...)
	for range 2 { // done again, it changes nothing
		for _, line := range regexp.MustCompile(`(?m)^#     (sed -i|devlog-hook config containerd1) .*`).FindAllString(printed(h, "containerd1"), -1) {
			line = strings.ReplaceAll(strings.TrimPrefix(line, "#     "), "devlog-hook ", filepath.Join(binDir, "devlog-hook")+" ")
			h.Must(engineCommand("sh", "-c", line)...)
		}
	}
	if r := h.Do(engineCommand(filepath.Join(binDir, "devlog-hook"), "config", "containerd")...); r.Code != 2 || !strings.Contains(r.ErrOut, "use config containerd1") {
		t.Errorf("config containerd, for version 2: %+v", r)
	}
	ctr := func(args ...string) []string {
		return engineCommand(append([]string{"ctr", "--address", "/run/containerd.sock", "--namespace", engineGroup()}, args...)...)
	}
	containerd := []string{"containerd", "--config", config, "--root", dir + "/data", "--state", "/run/containerd", "--address", "/run/containerd.sock"}
	startEngine(t, h, ctr("version"), containerd...)
	if r := h.Must(ctr("plugins", "ls")...); !regexp.MustCompile(`grpc\.v1\s+cri\s+\S+\s+ok`).MatchString(r.Out) {
		t.Errorf("its CRI plugin is not well:\n%s", r.Out)
	}
	dump := h.Must(engineCommand(append(containerd, "config", "dump")...)...).Out
	found := binaryName.FindStringSubmatch(dump)
	if found == nil || found[1] != filepath.Join(binDir, "devlog-runtime") {
		t.Fatalf("its configuration has the runtime %q:\n%s", found, dump)
	}
	if section := regexp.MustCompile(`runtimes\.devlog\.options\][^\[]*SystemdCgroup = true`); !section.MatchString(dump) {
		t.Errorf("the runtime lacks the node's own options:\n%s", dump)
	}
	run := func(id, script string, flags ...string) []string {
		rootfs := filepath.Join(dir, id)
		newRootfs(t, rootfs)
		args := append([]string{"run", "--rm", "--runc-binary", found[1], "--mount", "type=bind,src=/dev,dst=/dev,options=rbind:rw"}, flags...)
		return ctr(append(args, "--rootfs", rootfs, id, "/bin/sh", "-c", script)...)
	}
	if r := h.Do(run("c1", threeClients("a")+"exit 5")...); r.Code != 5 {
		t.Fatalf("ctr run: %+v", r)
	}
	wantOnce(t, h.Path("/var/log/devlog/c1/messages"), threeTexts("a")...)
	expectReceiversEnd(t, h)
	// Where it is not wanted there is no receiver.
	for id, flag := range map[string]string{"c2": "--label=x=y", "c3": "--annotation=devlog=off", "c4": "--env=devlog=off"} {
		on := id == "c2"
		r := h.Do(run(id, "true", flag)...)
		if log := exists(h.Path("/var/log/devlog/" + id)); r.Code != 0 || log != on {
			t.Errorf("%s: %+v; with a log: %t", flag, r, log)
		}
	}
	expectReceiversEnd(t, h)
	var left []string
	for _, line := range hostTree(h) {
		if !slices.Contains(before, line) && strings.Contains(line, " /dev/") {
			left = append(left, line)
		}
	}
	left = slices.DeleteFunc(left, func(line string) bool { // the host is prepared with that link
		return strings.HasSuffix(line, " /dev/.devlog-host") || strings.HasSuffix(line, " /run/devlog/log -> /dev/.devlog-host")
	})
	if len(left) != 1 || !strings.HasSuffix(left[0], " "+linked) {
		t.Errorf("new in /dev: %q", left)
	}
}
