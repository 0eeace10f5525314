package runtimes

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// binaryName finds the runtime in containerd's view of its configuration.
var binaryName = regexp.MustCompile(`runtimes\.devlog\.options\]\s+BinaryName = "(.*)"`)

// containerd accepts the printed configuration, and a container that it starts with that runtime
// logs.
func TestContainerd(t *testing.T) {
	host.NeedContainers(t, "containerd", "runc")
	h := host.NewEngineHost(t)
	before := host.Tree(h)
	dir := t.TempDir()
	const config = "/etc/containerd/config.toml"
	h.Must("mkdir", "-p", filepath.Dir(config))
	h.Must(host.EngineCommand("sh", "-c", "containerd config default | sed 's/SystemdCgroup = false/SystemdCgroup = true/' >"+config)...)
	for range 2 { // done again, it changes nothing
		for _, line := range regexp.MustCompile(`(?m)^#     (sed -i|devlog-hook config containerd1) .*`).FindAllString(host.Printed(h, "containerd1"), -1) {
			line = strings.ReplaceAll(strings.TrimPrefix(line, "#     "), "devlog-hook ", filepath.Join(host.BinDir, "devlog-hook")+" ")
			h.Must(host.EngineCommand("sh", "-c", line)...)
		}
	}
	if r := h.Do(host.EngineCommand(filepath.Join(host.BinDir, "devlog-hook"), "config", "containerd")...); r.Code != 2 || !strings.Contains(r.ErrOut, "use config containerd1") {
		t.Errorf("config containerd, for version 2: %+v", r)
	}
	ctr := func(args ...string) []string {
		return host.EngineCommand(append([]string{"ctr", "--address", "/run/containerd.sock", "--namespace", host.EngineGroup()}, args...)...)
	}
	containerd := []string{"containerd", "--config", config, "--root", dir + "/data", "--state", "/run/containerd", "--address", "/run/containerd.sock"}
	host.StartEngine(t, h, ctr("version"), containerd...)
	if r := h.Must(ctr("plugins", "ls")...); !regexp.MustCompile(`grpc\.v1\s+cri\s+\S+\s+ok`).MatchString(r.Out) {
		t.Errorf("its CRI plugin is not well:\n%s", r.Out)
	}
	dump := h.Must(host.EngineCommand(append(containerd, "config", "dump")...)...).Out
	found := binaryName.FindStringSubmatch(dump)
	if found == nil || found[1] != filepath.Join(host.BinDir, "devlog-runtime") {
		t.Fatalf("its configuration has the runtime %q:\n%s", found, dump)
	}
	if section := regexp.MustCompile(`runtimes\.devlog\.options\][^\[]*SystemdCgroup = true`); !section.MatchString(dump) {
		t.Errorf("the runtime lacks the node's own options:\n%s", dump)
	}
	run := func(id, script string, flags ...string) []string {
		rootfs := filepath.Join(dir, id)
		host.NewRootfs(t, rootfs)
		args := append([]string{"run", "--rm", "--runc-binary", found[1], "--mount", "type=bind,src=/dev,dst=/dev,options=rbind:rw"}, flags...)
		return ctr(append(args, "--rootfs", rootfs, id, "/bin/sh", "-c", script)...)
	}
	if r := h.Do(run("c1", host.ThreeClients("a")+"exit 5")...); r.Code != 5 {
		t.Fatalf("ctr run: %+v", r)
	}
	host.WantOnce(t, h.Path("/var/log/devlog/c1/messages"), host.ThreeTexts("a")...)
	host.ExpectReceiversEnd(t, h)
	// A container that opts out has no receiver.
	for id, flag := range map[string]string{"c2": "--label=x=y", "c3": "--annotation=devlog=off", "c4": "--env=devlog=off"} {
		on := id == "c2"
		r := h.Do(run(id, "true", flag)...)
		if log := host.Exists(h.Path("/var/log/devlog/" + id)); r.Code != 0 || log != on {
			t.Errorf("%s: %+v; with a log: %t", flag, r, log)
		}
	}
	host.ExpectReceiversEnd(t, h)
	var left []string
	for _, line := range host.Tree(h) {
		if !slices.Contains(before, line) && strings.Contains(line, " /dev/") {
			left = append(left, line)
		}
	}
	left = slices.DeleteFunc(left, func(line string) bool { // the host is prepared with that link
		return strings.HasSuffix(line, " /dev/.devlog-host") || strings.HasSuffix(line, " /run/devlog/log -> /dev/.devlog-host")
	})
	if len(left) != 1 || !strings.HasSuffix(left[0], " "+host.Linked) {
		t.Errorf("new in /dev: %q", left)
	}
}
