package packages

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// changed is where a fake host stores what packages change, instead of on the machine.
const changed = "/run/changed"

// newPackageHost makes a fake host that looks like the machine to a package manager, with
// overlays for changes. It has systemd, but its systemctl only records its arguments.
func newPackageHost(t *testing.T) *host.Host {
	t.Helper()
	h := host.NewHost(t)
	h.Must("mkdir", "-p", "/run/systemd/system", changed+"/usr/below/sbin")
	host.Check(t, os.WriteFile(h.Path(changed+"/usr/below/sbin/systemctl"), []byte("#!/bin/sh\necho \"$@\" >>"+askedFile+"\n"), 0o755))
	for _, dir := range []string{"/usr", "/etc", "/var/lib/dpkg"} {
		over := changed + dir
		h.Must("mkdir", "-p", over+"/upper", over+"/work", over+"/below")
		h.Must("mount", "-n", "-t", "overlay", "-o", "lowerdir="+over+"/below:"+dir+",upperdir="+over+"/upper,workdir="+over+"/work", "overlay", dir)
	}
	return h
}

// askedFile is where that systemctl records them.
const askedFile = "/run/systemctl.asked"

// askedSystemd returns what systemctl was called for since the last call.
func askedSystemd(t *testing.T, h *host.Host) string {
	t.Helper()
	text, err := os.ReadFile(h.Path(askedFile))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	host.Check(t, os.WriteFile(h.Path(askedFile), nil, 0o644))
	return string(text)
}

// changes lists the files, without directories and the lists of users, that were added to, changed in
// or removed from one of the directories that packages change.
func changes(t *testing.T, h *host.Host, dir string) (list []string) {
	t.Helper()
	upper := h.Path(changed + dir + "/upper")
	users := []string{".pwd.lock", "group", "gshadow", "passwd", "shadow"} // a package's user stays
	host.Check(t, filepath.WalkDir(upper, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && (dir != "/etc" || !slices.Contains(users, strings.TrimSuffix(d.Name(), "-"))) {
			list = append(list, dir+strings.TrimPrefix(path, upper))
		}
		return err
	}))
	return list
}

// manager is a package manager: how it installs or replaces a package, and
// removes it.
type manager struct {
	name            string
	file            *string
	install, remove []string
}

var managers = []manager{
	// Without triggers of other packages, such as man's index, which may take long.
	{"dpkg", &debFile, []string{"dpkg", "--no-triggers", "-i"}, []string{"dpkg", "--no-triggers", "-r", "devlog"}},
	// As on a machine without other .rpm packages, with the host's own database.
	{"rpm", &rpmFile, []string{"rpm", "--dbpath", "/run/rpm", "--nodeps", "-U", "--replacepkgs"},
		[]string{"rpm", "--dbpath", "/run/rpm", "--nodeps", "-e", "devlog"}},
}

// startsDevlog returns whether systemd was asked for more than to enable the socket of the host's
// service, and to restart that service if it runs, as an upgrade must.
func startsDevlog(asked string) bool {
	for _, may := range []string{"--no-reload enable devlogd.socket", "--quiet is-enabled devlogd.socket", "--quiet is-active devlogd.service", "try-restart devlogd.service"} {
		asked = strings.ReplaceAll(asked, may+"\n", "")
	}
	return strings.Contains(asked, "devlog")
}

// A package is installed, used as the README says, installed again and removed. It starts and
// enables only the socket, keeps the administrator's files, and leaves only those and the logs.
func TestPackageInstall(t *testing.T) {
	for _, m := range managers {
		t.Run(m.name, func(t *testing.T) {
			host.NeedContainers(t, "lxc", m.name)
			dir := packages(t)
			h := newPackageHost(t)
			install := append(slices.Clone(m.install), filepath.Join(dir, *m.file))
			h.Must(install...)

			if got := askedSystemd(t, h); startsDevlog(got) {
				t.Errorf("the installation asks systemd for %q", got)
			}
			if got := changes(t, h, "/etc"); !slices.Equal(got, []string{"/etc/devlogd.conf"}) {
				t.Errorf("the installation changes in /etc %q", got)
			}
			for _, program := range []string{"devlog-hook", "devlogd"} {
				r := h.Do("env", "-i", "PATH=/usr/sbin:/usr/bin", program, "--version")
				if !strings.HasSuffix(r.Out, " "+packagedVersion+"\n") {
					t.Errorf("%s --version: %+v", program, r)
				}
			}
			if r := h.Do("grep", "^devlog:", "/etc/passwd"); strings.Count(r.Out, "\n") != 1 {
				t.Errorf("the user of the service: %+v", r)
			}
			expectDefaultRules(t, h)
			expectInstalledHook(t, h)

			edited := "# mine\n*.* -/var/log/all\n"
			host.Check(t, os.WriteFile(h.Path("/etc/devlogd.conf"), []byte(edited), 0o644))
			expectOwnRules(t, h)
			h.Must(install...)
			if got := askedSystemd(t, h); startsDevlog(got) {
				t.Errorf("installing it again asks systemd for %q", got)
			}
			if text, err := os.ReadFile(h.Path("/etc/devlogd.conf")); err != nil || string(text) != edited {
				t.Errorf("after installing it again the configuration is %q, %v", text, err)
			}

			h.Must("/usr/sbin/devlog-hook", "undo", "--host") // a container's hook has prepared it
			if r := h.Must(m.remove...); strings.Contains(r.Out+r.ErrOut, "devlog: left") {
				t.Errorf("the removal leaves what is not there: %+v", r)
			}
			if got := askedSystemd(t, h); !strings.Contains(got, "disable --now devlog-host.service\n") {
				t.Errorf("the removal asks systemd for %q", got)
			}
			if m.name == "dpkg" {
				if text, err := os.ReadFile(h.Path("/etc/devlogd.conf")); err != nil || string(text) != edited {
					t.Errorf("after the removal the configuration is %q, %v", text, err)
				}
				h.Must("dpkg", "--no-triggers", "--purge", "devlog")
			} else {
				host.Check(t, os.Remove(h.Path("/etc/devlogd.conf.rpmsave")))
			}
			if left := append(changes(t, h, "/usr"), changes(t, h, "/etc")...); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
			if _, err := os.Stat(h.Path("/var/log/all")); err != nil {
				t.Errorf("the log has gone: %v", err)
			}
		})
	}
}

// A removal after the README's steps prints nothing, and leaves the host as it was. A removal
// without these steps reports in one line what stays.
func TestPackageUninstall(t *testing.T) {
	script := host.Documented(t, "../README.md")
	for _, m := range managers {
		for _, steps := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, steps %t", m.name, steps), func(t *testing.T) {
				host.Need(t, "root", m.name)
				dir := packages(t)
				h := newPackageHost(t)
				host.ListenOn(t, h, "/dev/log")
				tree := func() []string {
					return h.Tree([]string{"/dev/pts", changed, askedFile, "/run/rpm", "/var/log/dpkg.log"}, "/dev", "/run", "/var/log")
				}
				before := tree()
				h.Must(append(slices.Clone(m.install), filepath.Join(dir, *m.file))...)
				uses := []string{"/etc/containers/oci/hooks.d/devlog.json", "/etc/cdi/devlog.json"}
				h.Must("mkdir", "-p", filepath.Dir(uses[0]), filepath.Dir(uses[1]))
				h.Must("sh", "-c", "devlog-hook config podman >"+uses[0]+"; devlog-hook config cdi >"+uses[1])
				h.Must("devlog-hook", "repair", "--host", "--keep")
				defer func() { // a removal without the steps leaves the watcher
					for _, pid := range h.Receivers() {
						h.Must("kill", fmt.Sprint(pid))
					}
				}()
				remove := strings.Join(m.remove, " ")
				if steps {
					remove = strings.Replace(script, "apt purge devlog", remove, 1)
				}
				r := h.Must("sh", "-euc", remove)
				said := regexp.MustCompile("(?m)^devlog: left in place.*$").FindAllString(r.Out+r.ErrOut, -1)
				if steps {
					if len(said) > 0 {
						t.Errorf("the removal says %q", said)
					}
					host.ExpectReceiversEnd(t, h)
					if after := tree(); !slices.Equal(after, before) {
						t.Errorf("the host was\n%q\nand is\n%q", before, after)
					}
					return
				}
				if len(said) != 1 || !strings.HasSuffix(said[0], ": the prepared host, until reboot"+
					" (to undo it earlier, install devlog again and run devlog-hook undo --host), "+strings.Join(uses, ", ")) {
					t.Errorf("the removal says %q: %+v", said, r)
				}
				if to, err := os.Readlink(h.Path("/dev/log")); err != nil || len(h.Receivers()) != 1 {
					t.Errorf("/dev/log points to %q, %v; receivers: %d", to, err, len(h.Receivers()))
				}
				h.Must("logger", "--socket-errors=on", "it works still")
			})
		}
	}
}

// expectDefaultRules repairs a container from the host, with the installed configuration:
// the container has its own file.
func expectDefaultRules(t *testing.T, h *host.Host) {
	t.Helper()
	h.Must("devlogd", "--check-config")
	r := repairFromHost(t, h, "first")
	if want := "/var/log/devlog/first/messages"; !strings.Contains(r.Out, want) {
		t.Errorf("repair says %q, not %s", r.Out, want)
	}
	host.WantOnce(t, h.Path("/var/log/devlog/first/messages"), host.ThreeTexts("first")...)
}

// expectOwnRules does the same after the administrator has written rules.
func expectOwnRules(t *testing.T, h *host.Host) {
	t.Helper()
	h.Must("devlogd", "--check-config")
	if r := repairFromHost(t, h, "second"); !strings.Contains(r.Out, "/etc/devlogd.conf") {
		t.Errorf("repair says %q, not where the rules are", r.Out)
	}
	host.WantOnce(t, h.Path("/var/log/all"), host.ThreeTexts("second")...)
	if _, err := os.Stat(h.Path("/var/log/devlog/second")); err == nil {
		t.Error("the default rules are in force too")
	}
}

// repairFromHost repairs a container of that name with the installed program,
// logs there, and ends it.
func repairFromHost(t *testing.T, h *host.Host, name string) host.Result {
	t.Helper()
	c := host.StartPlain(t, h, "lxc")
	r := h.Must("devlog-hook", "repair", "--pid", fmt.Sprint(c.Pid), "--name", name)
	if r := c.Exec("/bin/sh", "-c", host.ThreeClients(name)); r.Code != 0 {
		t.Errorf("clients: %+v", r)
	}
	c.Stop()
	host.ExpectReceiversEnd(t, h)
	return r
}

// expectInstalledHook starts a container as the README says.
func expectInstalledHook(t *testing.T, h *host.Host) {
	t.Helper()
	c := host.BareLXC(t, h, "hooked")
	c.Include("/usr/share/devlog/hooks/devlog.lxc.conf", " opt/devlog ")
	if r := c.Execute(host.ThreeClients("hooked") + "exit 5"); r.Code != 5 {
		t.Fatalf("lxc-execute: %+v", r)
	}
	host.WantOnce(t, c.Log(), host.ThreeTexts("hooked")...)
}
