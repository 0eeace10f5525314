package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// installDir is where the files in hooks/ take the programs to be.
const installDir = "/usr/libexec/devlog"

// install puts the programs where the files in hooks/ take them to be, on the
// fake host only.
func install(t *testing.T, h *Host) {
	t.Helper()
	overlay(h, filepath.Dir(installDir))
	h.Must("mkdir", "-p", installDir)
	h.Must("cp", filepath.Join(binDir, "devlogd"), filepath.Join(binDir, "devlog-hook"), filepath.Join(binDir, "devlog-runtime"), installDir)
}

// overlay hides the machine's own directory: what is written there is on the
// fake host only.
func overlay(h *Host, dir string) {
	h.t.Helper()
	over := "/run/overlay" + dir
	h.Must("mkdir", "-p", over+"/upper", over+"/work")
	h.Must("mount", "-n", "-t", "overlay", "-o", "lowerdir="+dir+",upperdir="+over+"/upper,workdir="+over+"/work", "overlay", dir)
}

// What "devlog-hook config" prints where the programs are installed is what
// stands in hooks/, and what the tests below use.
func TestConfigPrints(t *testing.T) {
	need(t, "root")
	h := NewHost(t)
	install(t, h)
	program := filepath.Join(installDir, "devlog-hook")
	kinds := map[string][]string{
		"lxc": {"devlog.lxc.conf"}, "lxc-unprivileged": {"devlog.lxc-unprivileged.conf"}, "podman": {"devlog.oci.json"},
		"docker": {"devlog.docker.json"}, "containerd": {"devlog.containerd.toml"}, "containerd1": {"devlog.containerd1.toml"}, "cri-o": {"devlog.crio.json"},
		"cdi": {"devlog.cdi.json"}, "kubernetes": {"devlog.kubernetes.yaml"},
		"sysvinit": {"devlog-host.init", "devlog.init"}, "openrc": {"devlog-host.openrc"}, "systemd-host": {"devlog-host.service"},
		"s6": {"devlog.s6"}, "runit": {"devlog.runit"},
		"rsyslog": {"devlog.rsyslog.conf"}, "syslog-ng": {"devlog.syslog-ng.conf"}, "fluent-bit": {"devlog.fluent-bit.yaml"},
		"vector": {"devlog.vector.yaml"}, "otel": {"devlog.otel.yaml"},
	}
	standing := 0
	for kind, files := range kinds {
		standing += len(files)
		h.Must("mkdir", "/run/"+kind)
		h.Must(program, "config", kind, "--dir", "/run/"+kind)
		printed := h.Must(program, "config", kind)
		for _, name := range files {
			want, err := os.ReadFile(hookFile(t, name))
			check(t, err)
			got, err := os.ReadFile(h.Path("/run/" + kind + "/" + name))
			check(t, err)
			if string(got) != string(want) {
				t.Errorf("config %s writes %s as\n%s", kind, name, got)
			}
			if len(files) == 1 && printed.Out != string(want) || !strings.Contains(printed.Out, string(want)) {
				t.Errorf("config %s prints\n%s", kind, printed.Out)
			}
			st, err := os.Stat(h.Path("/run/" + kind + "/" + name))
			check(t, err)
			if runs := strings.HasPrefix(string(want), "#!"); st.Mode().Perm()&0o111 != 0 != runs {
				t.Errorf("%s has mode %v", name, st.Mode())
			}
		}
		if strings.HasSuffix(files[0], ".json") != strings.Contains(printed.ErrOut, "save it as /") && len(files) == 1 {
			t.Errorf("config %s says on standard error %q", kind, printed.ErrOut)
		}
	}
	entries, err := os.ReadDir(hookFile(t, ""))
	check(t, err)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".go") {
			standing++
		}
	}
	if standing != len(entries) {
		t.Errorf("%d files in hooks/, %d of which are known", len(entries), standing)
	}
}

// include is a container's configuration without the harness's own lines that
// have one of these texts, and with that file in their place.
func (c *LXC) include(file string, without ...string) {
	c.t.Helper()
	conf, err := os.ReadFile(c.conf)
	check(c.t, err)
	lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(conf)), "\n"), func(line string) bool {
		return slices.ContainsFunc(without, func(text string) bool { return strings.Contains(line, text) })
	})
	lines = append(lines, "lxc.include = "+file)
	check(c.t, os.WriteFile(c.conf, []byte(strings.Join(lines, "\n")+"\n"), 0o644))
}

// The LXC snippet, included as it is.
func TestHookFileLXC(t *testing.T) {
	needContainers(t, "lxc")
	h := NewHost(t)
	install(t, h)
	c := newLXC(t, h, "c1")
	c.include(hookFile(t, "devlog.lxc.conf"), " opt/devlog ")
	if r := c.Execute(threeClients("x") + "exit 5"); r.Code != 5 {
		t.Fatalf("lxc-execute: %+v", r)
	}
	wantOnce(t, c.Log(), threeTexts("x")...)
}

// The snippet for a container with a user namespace.
func TestHookFileLXCUnprivileged(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, h *Host){"adopt": journal, "bind": liveSocket} {
		t.Run(name, func(t *testing.T) {
			needContainers(t, "lxc")
			h := NewHost(t)
			install(t, h)
			make(t, h)
			before := hostTree(h)
			ids := fmt.Sprintf("0 %d 65536", firstID)
			c := newLXC(t, h, "c1", "lxc.idmap = u "+ids, "lxc.idmap = g "+ids)
			giveTo(t, c.Rootfs)
			c.include(hookFile(t, "devlog.lxc-unprivileged.conf"), " opt/devlog ", "/dev dev none", "lxc.autodev")
			c.Start(threeClients("x") + hold)
			wantOnce(t, c.Log(), threeTexts("x")...)
			release(t, c.Rootfs)
			c.WaitStopped()
			expectReceiversEnd(t, h)
			expectNew(t, h, before)
		})
	}
}

// podmanRun runs three clients in a container of podman that has the host's
// /dev; it returns the container's log, seen from the test.
func podmanRun(t *testing.T, h *Host, who string, global []string, flags ...string) (log string) {
	t.Helper()
	dir := t.TempDir()
	rootfs := filepath.Join(dir, "rootfs")
	newRootfs(t, rootfs)
	run := newPodman(t, h, global...)("run", "--rm", "--name", "web", "--network", "none", "--cidfile", dir+"/id",
		"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096", "--volume", "/dev:/dev")
	run = append(append(run, flags...), "--rootfs", rootfs, "/bin/sh", "-c", threeClients(who)+"exit 5")
	if r := h.Do(run...); r.Code != 5 {
		t.Fatalf("podman run %q: %+v", flags, r)
	}
	id, err := os.ReadFile(dir + "/id")
	check(t, err)
	return h.Path("/var/log/devlog/" + string(id) + "/messages")
}

// hooksDir is a directory with one file of hooks/ only: podman reads every .json
// of it.
func hooksDir(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	check(t, command("cp", hookFile(t, file), dir))
	return dir
}

// The hooks.d file, read by podman as it is.
func TestHookFilePodman(t *testing.T) {
	needContainers(t, "podman", "runc")
	h := NewHost(t)
	install(t, h)
	log := podmanRun(t, h, "x", []string{"--hooks-dir", hooksDir(t, "devlog.oci.json")})
	wantOnce(t, log, threeTexts("x")...)
}

// The hooks.d file for CRI-O, which podman reads too.
func TestHookFileCRIO(t *testing.T) {
	needContainers(t, "podman", "runc")
	h := NewHost(t)
	install(t, h)
	receive := listenOn(t, h, "/dev/log")
	global := []string{"--hooks-dir", hooksDir(t, "devlog.crio.json")}
	wantOnce(t, podmanRun(t, h, "x", global, "--annotation", "devlog.dev/log=on"), threeTexts("x")...)
	if log := podmanRun(t, h, "y", global); exists(log) {
		t.Error("a hook has run without the annotation")
	}
	for _, want := range threeTexts("y") {
		if got := receive(); !strings.HasSuffix(got, ": "+want) {
			t.Errorf("the host received %q, want %q", got, want)
		}
	}
}

// The device of the Container Device Interface.
func TestHookFileCDI(t *testing.T) {
	needContainers(t, "podman", "runc")
	h := NewHost(t)
	install(t, h)
	overlay(h, "/etc")
	h.Must("mkdir", "-p", "/etc/cdi")
	h.Must("cp", hookFile(t, "devlog.cdi.json"), "/etc/cdi/devlog.json")
	wantOnce(t, podmanRun(t, h, "x", nil, "--device", "devlog.dev/log=on"), threeTexts("x")...)
	expectReceiversEnd(t, h)
}
