package packages

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// earlier plays the earlier release until there is one.
const earlier = "6ef21b3cdc0b57eab627042df0309d63075a8ad0"

// earlierDeb builds the .deb of the last release, from this repository's history.
func earlierDeb(t *testing.T) string {
	t.Helper()
	tools, err := filepath.Abs("../.tools")
	host.Check(t, err)
	dir := t.TempDir()
	cmd := exec.Command("sh", "-euc", `
		git="git -c safe.directory=*"
		version=$(cat VERSION)
		revision=$($git describe --tags --abbrev=0 --exclude "v$version" 2>/dev/null) || revision=$1
		$git archive "$revision" >"$2/tar"
		mkdir "$2/src"
		tar -x -C "$2/src" -f "$2/tar"
		ln -s "$3" "$2/src/.tools"
		exec make -C "$2/src" packages VERSION=0.0.9 ARCHES="$4"`, "sh", earlier, dir, tools, runtime.GOARCH)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil && os.Getenv("DEVLOG_TEST_REQUIRE") != "" {
		t.Fatalf("this test needs the repository's whole history: %v\n%s", err, out)
	} else if err != nil {
		t.Skipf("this test needs the repository's whole history: %v", err)
	}
	return filepath.Join(dir, "src/dist/devlog_0.0.9-1_"+runtime.GOARCH+".deb")
}

// The package is installed over the earlier release while a container logs. The configuration and the
// messages stay, and no file of the old package does.
func TestPackageUpgrade(t *testing.T) {
	host.NeedContainers(t, "lxc", "dpkg", "git", "make", "nfpm")
	old := earlierDeb(t)
	dir := packages(t)
	h := newPackageHost(t)
	h.Must("dpkg", "--no-triggers", "-i", old)
	edited := "# mine\n*.* -/var/log/all\n"
	host.Check(t, os.WriteFile(h.Path("/etc/devlogd.conf"), []byte(edited), 0o644))
	c := host.StartPlain(t, h, "lxc")
	h.Must("devlog-hook", "repair", "--pid", fmt.Sprint(c.Pid), "--name", "box")
	says := func(who string) {
		t.Helper()
		if r := c.Exec("/bin/sh", "-c", host.ThreeClients(who)); r.Code != 0 {
			t.Errorf("clients: %+v", r)
		}
		host.WantOnce(t, h.Path("/var/log/all"), host.ThreeTexts(who)...)
	}
	says("before")
	askedSystemd(t, h)
	// If the new package's file has changed too, dpkg asks which to keep, unless an option decides.
	h.Must("dpkg", "--no-triggers", "--force-confold", "-i", filepath.Join(dir, debFile))
	if got := askedSystemd(t, h); startsDevlog(got) || !strings.Contains(got, "try-restart devlogd.service\n") {
		t.Errorf("the upgrade asks systemd for %q", got)
	}
	if r := h.Must("devlog-hook", "--version"); !strings.HasSuffix(r.Out, " "+packagedVersion+"\n") {
		t.Errorf("after the upgrade: %+v", r)
	}
	if text, err := os.ReadFile(h.Path("/etc/devlogd.conf")); err != nil || string(text) != edited {
		t.Errorf("after the upgrade the configuration is %q, %v", text, err)
	}
	says("after") // by the old receiver
	h.Must("devlog-hook", "undo", "--pid", fmt.Sprint(c.Pid))
	h.Must("devlog-hook", "repair", "--pid", fmt.Sprint(c.Pid), "--name", "box")
	says("again")
	c.Stop()
	host.ExpectReceiversEnd(t, h)

	listed := strings.Fields(h.Must("dpkg", "-L", "devlog").Out)
	for _, name := range append(changes(t, h, "/usr"), changes(t, h, "/etc")...) {
		// dpkg puts its own version beside a configuration that it keeps.
		if !slices.Contains(listed, strings.TrimSuffix(name, ".dpkg-dist")) && !strings.Contains(name, "/cache/") {
			t.Errorf("the upgrade leaves %s", name)
		}
	}
	h.Must("dpkg", "--no-triggers", "--purge", "devlog")
}
