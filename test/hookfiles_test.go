package test

import (
	"os"
	"path/filepath"
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

// include gives the container our LXC snippet in place of the harness's own
// mount of the programs.
func include(t *testing.T, c *LXC, snippet string) {
	t.Helper()
	conf, err := os.ReadFile(c.conf)
	check(t, err)
	lines := strings.Split(string(conf), "\n")
	for i, l := range lines {
		if strings.Contains(l, " opt/devlog ") {
			lines[i] = "lxc.include = " + snippet
		}
	}
	check(t, os.WriteFile(c.conf, []byte(strings.Join(lines, "\n")), 0o644))
}

// The LXC snippet, included as it is.
func TestHookFileLXC(t *testing.T) {
	needContainers(t, "lxc")
	h := NewHost(t)
	install(t, h)
	snippet, err := filepath.Abs("../hooks/devlog.lxc.conf")
	check(t, err)
	c := newLXC(t, h, "c1")
	include(t, c, snippet)
	if r := c.Execute(threeClients("x") + "exit 5"); r.Code != 5 {
		t.Fatalf("lxc-execute: %+v", r)
	}
	wantOnce(t, c.Log(), threeTexts("x")...)
}

// The hooks.d file, read by podman as it is.
func TestHookFilePodman(t *testing.T) {
	needContainers(t, "podman", "runc")
	h := NewHost(t)
	install(t, h)
	hooks, err := filepath.Abs("../hooks")
	check(t, err)
	dir := t.TempDir()
	rootfs := filepath.Join(dir, "rootfs")
	newRootfs(t, rootfs)
	only := filepath.Join(dir, "hooks.d") // podman reads every .json of a directory
	check(t, os.Mkdir(only, 0o755))
	check(t, command("cp", filepath.Join(hooks, "devlog.oci.json"), only))
	run := []string{"podman", "--root", dir + "/storage", "--runroot", "/run/podman", "--storage-driver", "vfs",
		"--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "none", "--hooks-dir", only, "run", "--rm", "--name", "web", "--network", "none", "--cidfile", dir + "/id",
		"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096", "--volume", "/dev:/dev", "--rootfs", rootfs,
		"/bin/sh", "-c", threeClients("x") + "exit 5"}
	if r := h.Do(run...); r.Code != 5 {
		t.Fatalf("podman run: %+v", r)
	}
	id, err := os.ReadFile(dir + "/id")
	check(t, err)
	wantOnce(t, h.Path("/var/log/devlog/"+string(id)+"/messages"), threeTexts("x")...)
}
