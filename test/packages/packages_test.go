package packages

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// What the tests package: a release without a tag yet, and its time.
const (
	packagedVersion = "v1.2.0-rc.1-3-gabcdef0"
	packagedEpoch   = "1700000000"
)

// otherArch is an architecture other than this machine's.
var otherArch = map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]

// packagesDir has the packages of all tests, from makePackages. It is in the directory that
// TestMain removes.
var packagesDir = sync.OnceValues(func() (string, error) {
	return makePackages(filepath.Join(filepath.Dir(host.BinDir), "packages"), []string{runtime.GOARCH, otherArch, "arm7"})
})

// makePackages makes packages from a copy of the sources in the directory, without a
// repository, and returns where they are.
func makePackages(dir string, arches []string, env ...string) (string, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	sources, err := filepath.Glob("../*") // without .git and .tools
	if err != nil {
		return "", err
	}
	for _, s := range sources {
		if name := filepath.Base(s); name != "bin" && name != "dist" && name != ".git" && name != ".tools" {
			err = errors.Join(err, host.Command("cp", "-r", s, dir))
		}
	}
	tools, aerr := filepath.Abs("../.tools")
	if err = errors.Join(err, aerr); err != nil {
		return "", err
	}
	cmd := exec.Command("make", "-C", dir, "packages", "TOOLS="+tools, "VERSION="+packagedVersion, "ARCHES="+strings.Join(arches, " "))
	cmd.Env = append(append(os.Environ(), "SOURCE_DATE_EPOCH="+packagedEpoch), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return filepath.Join(dir, "dist"), nil
}

// packages makes the packages, once.
func packages(t *testing.T) string {
	t.Helper()
	host.Need(t, "make", "nfpm")
	dir, err := packagesDir()
	host.Check(t, err)
	return dir
}

// The names of the packages that were made.
var (
	debFile  = "devlog_1.2.0~rc.1+3.gabcdef0-1_" + runtime.GOARCH + ".deb"
	rpmFile  = "devlog-1.2.0~rc.1+3.gabcdef0-1." + machine + ".rpm"
	apkFile  = "devlog_1.2.0_rc1_git3-r1_" + machine + ".apk"
	tarFile  = "devlog_1.2.0~rc.1+3.gabcdef0_linux_" + runtime.GOARCH + ".tar.gz"
	sbomFile = "devlog_1.2.0~rc.1+3.gabcdef0_linux_" + runtime.GOARCH + ".devlog-hook.cdx.json"
	machine  = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
)

// Packages that are built in another directory, with another umask, time zone, language, time
// and processor, are identical.
func TestPackagesReproducible(t *testing.T) {
	first := packages(t)
	names, err := filepath.Glob(first + "/*")
	host.Check(t, err)
	if len(names) != 3*7+1 {
		t.Errorf("made: %q", names)
	}
	sums := host.Command("sh", "-c", "cd \"$0\" && sha256sum --quiet --strict -c SHA256SUMS && test $(wc -l <SHA256SUMS) = 21", first)
	if sums != nil {
		t.Errorf("SHA256SUMS: %v", sums)
	}

	old := unix.Umask(0o077)
	second, err := makePackages(filepath.Join(t.TempDir(), "elsewhere"), []string{runtime.GOARCH},
		"TZ=Asia/Tokyo", "LC_ALL=C.UTF-8", "GOAMD64=v3", "GOARM64=v9.0", "GOARM=5")
	unix.Umask(old)
	host.Check(t, err)
	for _, name := range []string{debFile, rpmFile, apkFile, tarFile, sbomFile} {
		a, err := os.ReadFile(filepath.Join(first, name))
		host.Check(t, err)
		b, err := os.ReadFile(filepath.Join(second, name))
		host.Check(t, err)
		if !bytes.Equal(a, b) {
			t.Errorf("%s is another one each time", name)
		}
	}
}

// packaged returns what a package installs, by path: type and mode, owner, link's target, and
// the hash of the content. It leaves out directories: each kind of package owns other ones.
func packaged(t *testing.T, args ...string) map[string]string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	host.Check(t, err)
	host.Check(t, cmd.Start())
	list := map[string]string{}
	archive := tar.NewReader(out)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		host.Check(t, err)
		name := strings.TrimPrefix(strings.TrimPrefix(h.Name, "."), "/")
		switch {
		case strings.HasPrefix(h.Name, ".PKGINFO"): // the .apk's description of itself
			continue
		case h.Typeflag == tar.TypeDir:
			if h.Mode&0o777 != 0o755 || h.Uid != 0 || h.Gid != 0 {
				t.Errorf("%s: the directory /%s has mode %o and belongs to %d:%d", args, name, h.Mode, h.Uid, h.Gid)
			}
			continue
		}
		sum := sha256.New()
		_, err = io.Copy(sum, archive)
		host.Check(t, err)
		mode := h.Mode & 0o7777
		if h.Typeflag == tar.TypeSymlink {
			mode = 0o777 // a link's mode has no meaning
		}
		list["/"+name] = fmt.Sprintf("%c %o %d:%d %q %x", h.Typeflag, mode, h.Uid, h.Gid, h.Linkname, sum.Sum(nil))
	}
	_, err = io.Copy(io.Discard, out)
	host.Check(t, err)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, &errs)
	}
	return list
}

// difference returns the differences of two listings.
func difference(a, b map[string]string) (lines []string) {
	for _, pair := range [][2]map[string]string{{a, b}, {b, a}} {
		for name, what := range pair[0] {
			if pair[1][name] != what {
				lines = append(lines, name+" "+what)
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// hashed returns the entry of an ordinary file in a listing.
func hashed(t *testing.T, mode, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	host.Check(t, err)
	return fmt.Sprintf("%c %s 0:0 \"\" %x", tar.TypeReg, mode, sha256.Sum256(text))
}

// Every kind of package has the same files, and none is missing.
func TestPackagesContents(t *testing.T) {
	host.Need(t, "dpkg-deb", "rpm", "bsdtar")
	dir := packages(t)
	deb := packaged(t, "dpkg-deb", "--fsys-tarfile", filepath.Join(dir, debFile))
	for _, name := range []string{rpmFile, apkFile} {
		if d := difference(deb, packaged(t, "bsdtar", "-cf", "-", "@"+filepath.Join(dir, name))); d != nil {
			t.Errorf("%s and the .deb differ in\n%s", name, strings.Join(d, "\n"))
		}
	}
	archive := packaged(t, "gzip", "-dc", filepath.Join(dir, tarFile))
	if d := difference(deb, archive); len(d) != 1 || !strings.HasPrefix(d[0], "/etc/devlogd.conf ") {
		t.Errorf("the archive and the .deb differ in\n%s\nwant /etc/devlogd.conf alone", strings.Join(d, "\n"))
	}

	want := map[string]string{"/etc/devlogd.conf": hashed(t, "644", "../packaging/devlogd.conf")}
	each := func(pattern string, add func(file, name string)) {
		files, err := filepath.Glob("../" + pattern)
		host.Check(t, err)
		if len(files) == 0 {
			t.Errorf("there are no %s", pattern)
		}
		for _, f := range files {
			add(f, filepath.Base(f))
		}
	}
	link := func(to string) string {
		return fmt.Sprintf("%c 777 0:0 %q %x", tar.TypeSymlink, to, sha256.Sum256(nil))
	}
	each("cmd/*", func(_, name string) {
		dir := "/usr/sbin/"
		if name == "devlog-runtime" {
			dir = "/usr/bin/"
		}
		want[dir+name] = link("../libexec/devlog/" + name)
		want["/usr/libexec/devlog/"+name] = "" // below
	})
	each("hooks/*", func(file, name string) {
		if strings.HasSuffix(name, ".go") {
			return
		}
		mode := "644"
		if strings.HasSuffix(name, ".init") || strings.HasSuffix(name, ".openrc") || strings.HasSuffix(name, ".s6") || strings.HasSuffix(name, ".runit") {
			mode = "755"
		}
		want["/usr/share/devlog/hooks/"+name] = hashed(t, mode, file)
		if ext := filepath.Ext(name); ext == ".service" || ext == ".socket" {
			want["/usr/lib/systemd/system/"+name] = hashed(t, "644", file)
		}
	})
	each("man/*", func(_, name string) {
		want["/usr/share/man/man"+name[len(name)-1:]+"/"+name+".gz"] = ""
	})
	each("packaging/completions/*.bash", func(file, name string) {
		name = strings.TrimSuffix(name, ".bash")
		other := strings.TrimSuffix(file, ".bash")
		want["/usr/share/bash-completion/completions/"+name] = hashed(t, "644", file)
		want["/usr/share/fish/vendor_completions.d/"+name+".fish"] = hashed(t, "644", other+".fish")
		want["/usr/share/zsh/site-functions/_"+name] = hashed(t, "644", other+".zsh")
		want["/usr/share/zsh/vendor-completions/_"+name] = link("../site-functions/_" + name)
	})
	for _, name := range []string{"README.md", "SECURITY.md", "LICENSE"} {
		want["/usr/share/doc/devlog/"+name] = hashed(t, "644", "../"+name)
	}
	for _, pattern := range []string{"docs/*.*", "docs/adr/*"} {
		each(pattern, func(file, _ string) {
			want["/usr/share/doc/devlog/"+strings.TrimPrefix(file, "../")] = hashed(t, "644", file)
		})
	}
	want["/usr/lib/sysusers.d/devlog.conf"] = hashed(t, "644", "../packaging/sysusers.conf")
	want["/usr/share/doc/devlog/copyright"], want["/usr/share/doc/devlog/changelog.gz"] = "", ""
	if d := difference(want, filter(deb, want)); d != nil {
		t.Errorf("the .deb is not as the sources in\n%s", strings.Join(d, "\n"))
	}
	for name := range deb {
		if _, ok := want[name]; !ok {
			t.Errorf("the .deb has %s, for which there is no reason", name)
		}
	}
}

// filter returns the part of the listing that want has. Entries that are empty in want are
// empty in the result.
func filter(listing, want map[string]string) map[string]string {
	list := maps.Clone(listing)
	for name := range list {
		if what, ok := want[name]; ok && what == "" {
			list[name] = ""
		} else if !ok {
			delete(list, name)
		}
	}
	return list
}

// If devlog is installed elsewhere, the files in hooks/ and the units name that place. An
// administrator's files are not replaced.
func TestInstallPrefix(t *testing.T) {
	dir := t.TempDir()
	install := func() {
		t.Helper()
		host.Check(t, host.Command("../packaging/install.sh", host.BinDir, dir, "/usr/local"))
	}
	install()
	conf, err := os.ReadFile(dir + "/etc/devlogd.conf")
	host.Check(t, err)
	if want, err := os.ReadFile("../packaging/devlogd.conf"); err != nil || string(conf) != string(want) {
		t.Errorf("installed is the configuration %q, %v", conf, err)
	}
	host.Check(t, os.WriteFile(dir+"/etc/devlogd.conf", []byte("*.* /mine\n"), 0o644))
	install()
	if conf, err = os.ReadFile(dir + "/etc/devlogd.conf"); err != nil || string(conf) != "*.* /mine\n" {
		t.Errorf("the configuration has become %q, %v", conf, err)
	}
	for name, want := range map[string]string{
		"share/devlog/hooks/devlog.lxc.conf":     "lxc.mount.entry = /usr/local/libexec/devlog opt/devlog",
		"share/devlog/hooks/devlog.oci.json":     `"/usr/local/libexec/devlog/devlog-hook"`,
		"lib/systemd/system/devlog-host.service": "ExecStart=/usr/local/libexec/devlog/devlog-hook repair --host --keep\n",
	} {
		text, err := os.ReadFile(dir + "/usr/local/" + name)
		if err != nil || !strings.Contains(string(text), want) || strings.Contains(string(text), "/usr/libexec") {
			t.Errorf("%s: %v, does not name the place:\n%s", name, err, text)
		}
	}
	program, err := filepath.EvalSymlinks(dir + "/usr/local/sbin/devlogd")
	if err != nil || program != dir+"/usr/local/libexec/devlog/devlogd" {
		t.Errorf("the link leads to %s, %v", program, err)
	}
}

// The rules that the installed configuration suggests are valid.
func TestInstalledConfiguration(t *testing.T) {
	text, err := os.ReadFile("../packaging/devlogd.conf")
	host.Check(t, err)
	rule := regexp.MustCompile(`(?m)^#([a-z*])`)
	if n := len(rule.FindAll(text, -1)); n < 3 {
		t.Errorf("it suggests only %d rules", n)
	}
	file := filepath.Join(t.TempDir(), "conf")
	host.Check(t, os.WriteFile(file, rule.ReplaceAll(text, []byte("$1")), 0o644))
	host.Check(t, host.Command(filepath.Join(host.BinDir, "devlogd"), "--check-config", "--config", file))
}

// Package managers treat the configuration as such, and have the scripts to run.
func TestPackagesMetadata(t *testing.T) {
	host.Need(t, "dpkg-deb", "rpm", "bsdtar")
	dir := packages(t)
	arm := func(file, from, to string) string { return strings.Replace(file, from+".", to+".", 1) }
	database := t.TempDir() // rpm makes one, even to look at a file
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"devlog 1.2.0~rc.1+3.gabcdef0-1 " + runtime.GOARCH, []string{"dpkg-deb", "--showformat=${Package} ${Version} ${Architecture}", "-W", debFile}},
		{"/etc/devlogd.conf\n", []string{"dpkg-deb", "--info", debFile, "conffiles"}},
		{"devlog 1.2.0~rc.1+3.gabcdef0 " + machine, []string{"rpm", "--dbpath", database, "-qp", "--qf", "%{NAME} %{VERSION} %{ARCH}", rpmFile}},
		{"/etc/devlogd.conf\n", []string{"rpm", "--dbpath", database, "-qp", "--configfiles", rpmFile}},
		{"armhf", []string{"dpkg-deb", "--showformat=${Architecture}", "-W", arm(debFile, runtime.GOARCH, "armhf")}},
		{"armv7hl", []string{"rpm", "--dbpath", database, "-qp", "--qf", "%{ARCH}", arm(rpmFile, machine, "armv7hl")}},
		{"arch = armv7\n", []string{"sh", "-c", "bsdtar -xOf $0 .PKGINFO | grep ^arch", arm(apkFile, machine, "armv7")}},
		{"cn", []string{"rpm", "--dbpath", database, "-qp", "--qf", "%{FILEFLAGS:fflags}", rpmFile}}, // of the first file: config(noreplace)
	} {
		cmd := exec.Command(tt.args[0], tt.args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != tt.want {
			t.Errorf("%s: %v, %q, want %q", cmd, err, out, tt.want)
		}
	}
}

// The versions made from describe.sh's output sort in the order of the sources.
func TestPackageVersion(t *testing.T) {
	host.Need(t, "dpkg")
	version := func(kind, of string) string {
		t.Helper()
		out, err := exec.Command("../packaging/version.sh", kind, of).Output()
		host.Check(t, err)
		return strings.TrimSuffix(string(out), "\n")
	}
	sorted := []struct{ of, deb, apk string }{ // an .rpm's is like a .deb's
		{"0.1.0-dev-99-gabcdef0", "0.1.0~dev+99.gabcdef0", "0.1.0_pre_git99"},
		{"0.1.0-dev-412-gabcdef0", "0.1.0~dev+412.gabcdef0", "0.1.0_pre_git412"},
		{"0.1.0", "0.1.0", "0.1.0"},
		{"v1.2.0-alpha", "1.2.0~alpha", "1.2.0_alpha"},
		{"v1.2.0-rc.1", "1.2.0~rc.1", "1.2.0_rc1"},
		{"v1.2.0-rc.1-3-gabcdef0", "1.2.0~rc.1+3.gabcdef0", "1.2.0_rc1_git3"},
		{"v1.2.0-rc.2", "1.2.0~rc.2", "1.2.0_rc2"},
		{"1.2.0", "1.2.0", "1.2.0"},
		{"v1.2.0-4-gabcdef0", "1.2.0+4.gabcdef0", "1.2.0_git4"},
		{"v1.2.0-4-gabcdef0-dirty", "1.2.0+4.gabcdef0+dirty", "1.2.0_git4"},
		{"v1.2.0-10-gabcdef0", "1.2.0+10.gabcdef0", "1.2.0_git10"},
		{"v1.2.1-x.7", "1.2.1~x.7", "1.2.1_pre7"},
		{"v1.2.1", "1.2.1", "1.2.1"},
		{"v1.10.0", "1.10.0", "1.10.0"},
	}
	for i, tt := range sorted {
		deb, rpm, apk := version("deb", tt.of), version("rpm", tt.of), version("apk", tt.of)
		if deb != tt.deb || rpm != tt.deb || apk != tt.apk {
			t.Errorf("%s becomes %s, %s and %s, want %s and %s", tt.of, deb, rpm, apk, tt.deb, tt.apk)
		}
		if i == 0 {
			continue
		}
		if err := host.Command("dpkg", "--compare-versions", sorted[i-1].deb+"-1", "lt", tt.deb+"-1"); err != nil {
			t.Errorf("%s does not come before %s", sorted[i-1].deb, tt.deb)
		}
	}
	if err := exec.Command("../packaging/version.sh", "exe", "v1.2.3").Run(); err == nil {
		t.Error("version.sh knows .exe files")
	}
	if err := exec.Command("../packaging/version.sh", "deb", "c4788f9").Run(); err == nil {
		t.Error("version.sh knows versions without numbers")
	}
}
