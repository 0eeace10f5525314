package packages

import (
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// The paths of devlog-runtime that an engine may have stored.
const (
	runtimePlace = "/usr/libexec/devlog/devlog-runtime"
	runtimeLink  = "/usr/bin/devlog-runtime"
)

// stays returns the lines of the removal that report where a script was left.
func stays(r host.Result) (lines []string) {
	for line := range strings.Lines(r.Out + r.ErrOut) {
		if strings.HasPrefix(line, "devlog: left in place of devlog-runtime") {
			lines = append(lines, line)
		}
	}
	return lines
}

// isProgram returns whether the file is the package's devlog-runtime.
func isProgram(t *testing.T, h *host.Host) bool {
	t.Helper()
	f, err := elf.Open(h.Path(runtimePlace))
	if err == nil {
		host.Check(t, f.Close())
	}
	to, lerr := os.Readlink(h.Path(runtimeLink))
	return err == nil && lerr == nil && to == "../libexec/devlog/devlog-runtime"
}

// Containers that Docker has started with devlog-runtime keep running when the package is
// removed, and can be stopped. The script that stays for that is removed by the next installation,
// which touches no other runtime. After that nothing stays.
func TestPackageRemovalDocker(t *testing.T) {
	for _, m := range managers {
		t.Run(m.name, func(t *testing.T) {
			host.NeedContainers(t, "docker", "runc", m.name)
			dir := packages(t)
			h := newPackageHost(t)
			host.Overlay(h, "/opt")
			install := append(slices.Clone(m.install), filepath.Join(dir, *m.file))
			h.Must(install...)
			host.StartDockerWith(t, h, h.Must("devlog-hook", "config", "docker").Out)
			for _, name := range []string{"c1", "c2"} {
				h.Must(host.DockerRun(name, "read _", "--detach", "--interactive")...)
			}
			if r := h.Must(install...); stays(r) != nil || !isProgram(t, h) {
				t.Errorf("an upgrade leaves something: %+v", r)
			}

			r := h.Must(m.remove...)
			if got := stays(r); len(got) != 1 || !strings.Contains(got[0], ": "+runtimePlace+";") || host.Exists(h.Path(runtimeLink)) {
				t.Errorf("the removal says %q: %+v", got, r)
			}
			h.Must(host.Docker("exec", "c1", "/bin/sh", "-c", "exit 0")...)
			h.Must(host.Docker("stop", "--time", "1", "c1")...)
			h.Must(host.Docker("kill", "c2")...)
			h.Must(host.Docker("rm", "c1", "c2")...)
			host.ExpectReceiversEnd(t, h)

			h.Must(install...)
			if !isProgram(t, h) {
				t.Error("after another installation devlog-runtime is not the package's")
			}
			for _, name := range changes(t, h, "/usr") {
				if base := filepath.Base(name); strings.Contains(base, "runc") {
					t.Errorf("the installation has changed %s", name)
				}
			}
			if r := h.Must(m.remove...); stays(r) != nil || host.Exists(h.Path(runtimePlace)) {
				t.Errorf("without containers the removal leaves something: %+v", r)
			}
		})
	}
}

// The same with podman, by the name in /usr/bin and purged in one go.
func TestPackageRemovalPodman(t *testing.T) {
	host.NeedContainers(t, "podman", "runc", "dpkg")
	dir := packages(t)
	h := newPackageHost(t)
	h.Must("dpkg", "--no-triggers", "-i", filepath.Join(dir, debFile))
	rootfs := filepath.Join(t.TempDir(), "rootfs")
	host.NewRootfs(t, rootfs)
	podman := host.NewPodman(t, h, "--runtime", runtimeLink)
	h.Detached(podman("run", "--detach", "--interactive", "--name", "web", "--network", "none", "--ulimit", "nofile=1024:1024",
		"--ulimit", "nproc=4096:4096", "--volume", "/dev:/dev", "--rootfs", rootfs, "/bin/sh", "-c", "read _")...)
	if n := len(h.Receivers()); n != 1 {
		t.Errorf("%d receivers", n)
	}
	r := h.Must("dpkg", "--no-triggers", "--purge", "devlog")
	if got := stays(r); len(got) != 1 || !strings.Contains(got[0], ": "+runtimeLink+";") || host.Exists(h.Path(runtimePlace)) {
		t.Errorf("the removal says %q: %+v", got, r)
	}
	h.Must(podman("stop", "--time", "1", "web")...)
	h.Must(podman("rm", "web")...)
	host.ExpectReceiversEnd(t, h)
}

// A removal looks at the bundles of every containerd, and at the command lines of conmon. An upgrade
// leaves no script, and a file of somebody else stays.
func TestPostremove(t *testing.T) {
	host.Need(t, "root")
	script, err := filepath.Abs("../packaging/postremove.sh")
	host.Check(t, err)
	const bundle = "io.containerd.runtime.v2.task/default/c1"
	for _, tt := range []struct {
		name, arg    string
		bundle, text string
		want         string
	}{
		{"containerd", "remove", "/run/containerd", runtimePlace, runtimePlace},
		{"containerd, rpm", "0", "/run/containerd", runtimePlace, runtimePlace},
		{"Docker", "remove", "/run/docker/containerd/daemon", runtimePlace, runtimePlace},
		{"k3s", "remove", "/run/k3s/containerd", runtimePlace, runtimePlace},
		{"the link", "remove", "/run/containerd", runtimeLink, runtimeLink},
		{"found in PATH", "remove", "/run/containerd", "devlog-runtime", runtimeLink},
		{"another runtime", "remove", "/run/containerd", "runc", ""},
		{"another of that name", "remove", "/run/containerd", "/opt" + runtimePlace, ""},
		{"no container", "remove", "", "", ""},
		{"purged later", "purge", "/run/containerd", runtimePlace, ""},
		{"upgrade", "upgrade", "/run/containerd", runtimePlace, ""},
		{"upgrade, rpm", "1", "/run/containerd", runtimePlace, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := host.NewHost(t)
			host.Overlay(h, "/usr")
			if tt.bundle != "" {
				at := filepath.Join(tt.bundle, bundle)
				h.Must("mkdir", "-p", at)
				host.Check(t, os.WriteFile(h.Path(at+"/runtime"), []byte(tt.text), 0o644))
			}
			r := h.Must(script, tt.arg)
			for _, place := range []string{runtimePlace, runtimeLink} {
				if there := host.Exists(h.Path(place)); there != (place == tt.want) {
					t.Errorf("%s is there: %t", place, there)
				}
			}
			if got := stays(r); (len(got) == 1) != (tt.want != "") || r.Out != "" {
				t.Errorf("it says %+v", r)
			}
			if tt.want == "" {
				return
			}
			// It becomes the same runtime that devlog-runtime would have become.
			if r := h.Do(tt.want, "--version"); host.Missing("runc") == "" && !strings.HasPrefix(r.Out, "runc version") {
				t.Errorf("without a setting it is %+v", r)
			}
			if r := h.Do("env", "DEVLOG_RUNTIME=printf", tt.want, "right"); r.Out != "right" {
				t.Errorf("with DEVLOG_RUNTIME=printf it says %+v", r)
			}
			if r := h.Must(script, tt.arg); stays(r) != nil {
				t.Errorf("over what is there it says %+v", r)
			}
		})
	}
}
