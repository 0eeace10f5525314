package packages

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"devlog/test/host"
)

// The version is in one place.
func TestVersionIsOne(t *testing.T) {
	text, err := os.ReadFile("../VERSION")
	host.Check(t, err)
	version := strings.TrimSpace(string(text))
	chart, err := os.ReadFile("../deploy/kubernetes/chart/Chart.yaml")
	host.Check(t, err)
	if want := "\nversion: " + version + "\n"; !strings.Contains(string(chart), want) {
		t.Errorf("Chart.yaml lacks %q", want)
	}
	changes, err := os.ReadFile("../CHANGELOG.md")
	host.Check(t, err)
	if want := "\n## [" + version + "] - 20"; !strings.Contains(string(changes), want) {
		t.Errorf("CHANGELOG.md lacks %q", want)
	}
}

// repository makes a repository of the sources in a new directory, with one commit, and
// returns a function that runs a command in it.
func repository(t *testing.T) (run func(line string) (string, error)) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "devlog")
	host.Check(t, os.Mkdir(dir, 0o755))
	sources, err := filepath.Glob("../*")
	host.Check(t, err)
	for _, s := range append(sources, "../.gitignore") {
		// A worktree's .git points to this test's own repository.
		if name := filepath.Base(s); name == ".gitignore" || !strings.HasPrefix(name, ".") && name != "bin" && name != "dist" {
			host.Check(t, host.Command("cp", "-r", s, dir))
		}
	}
	run = func(line string) (string, error) {
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_DIR="+dir+"/.git", "GIT_WORK_TREE="+dir, "GIT_CONFIG_GLOBAL=/dev/null",
			"GIT_AUTHOR_NAME=x", "GIT_AUTHOR_EMAIL=x@localhost", "GIT_AUTHOR_DATE=1700000000 +0000",
			"GIT_COMMITTER_NAME=x", "GIT_COMMITTER_EMAIL=x@localhost", "GIT_COMMITTER_DATE=1700000000 +0000")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	must(t, run, "git init -q && git add . && git commit -qm x")
	return run
}

func must(t *testing.T, run func(string) (string, error), line string) string {
	t.Helper()
	out, err := run(line)
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return strings.TrimSpace(out)
}

// A development version sorts before its release, and one after a release sorts after it.
func TestDescribe(t *testing.T) {
	host.Need(t, "git")
	run := repository(t)
	text, err := os.ReadFile("../VERSION")
	host.Check(t, err)
	version, hash := strings.TrimSpace(string(text)), must(t, run, "git rev-parse --short HEAD")
	for _, tt := range []struct{ before, want string }{
		{"true", version + "-dev-1-g" + hash},
		{"echo >>README.md", version + "-dev-1-g" + hash + "-dirty"},
		{"git checkout -q README.md && git tag v" + version, version},
		{"git commit -q --allow-empty -m y", version + "-1-g"},
		{"rm -rf .git", version},
	} {
		must(t, run, tt.before)
		if got := must(t, run, "packaging/describe.sh"); !strings.HasPrefix(got, tt.want) || len(got) > len(tt.want)+len(hash) {
			t.Errorf("after %q it says %s, want %s", tt.before, got, tt.want)
		}
	}
}

// A release must be committed, described in CHANGELOG.md, and not released yet. It has the same
// bytes each time.
func TestRelease(t *testing.T) {
	host.Need(t, "git", "make", "nfpm")
	tools, err := filepath.Abs("../.tools")
	host.Check(t, err)
	text, err := os.ReadFile("../VERSION")
	host.Check(t, err)
	version := strings.TrimSpace(string(text))
	var built [2]map[string][]byte
	for i := range built {
		run := repository(t)
		release := "make --no-print-directory release TOOLS=" + tools + " RELEASE_ARCHES=" + runtime.GOARCH
		if i == 0 {
			for _, tt := range []struct{ before, says, after string }{
				{"touch new", "not committed", "rm new"},
				{"echo 7.0.0 >VERSION && git commit -qam y", "has no section of 7.0.0", "git reset -q --hard HEAD^"},
				{"git tag v" + version + " && git commit -q --allow-empty -m y", "is released already", "git reset -q --hard HEAD^ && git tag -d v" + version},
			} {
				must(t, run, tt.before)
				if out, err := run(release); err == nil || !strings.Contains(out, tt.says) {
					t.Errorf("after %q: %v\n%s\nwant %q", tt.before, err, out, tt.says)
				}
				must(t, run, tt.after)
			}
		}
		must(t, run, release)
		must(t, run, "cd dist && sha256sum --quiet --strict -c SHA256SUMS && test $(wc -l <SHA256SUMS) = $(($(ls | wc -l) - 1))")
		built[i] = map[string][]byte{}
		for _, name := range strings.Fields(must(t, run, "ls dist")) {
			built[i][name] = []byte(must(t, run, "sha256sum <dist/"+name))
		}
	}
	for name, sum := range built[0] {
		if !bytes.Equal(sum, built[1][name]) {
			t.Errorf("%s is another one each time", name)
		}
	}
	for _, name := range []string{"devlog_" + version + "-1_" + runtime.GOARCH + ".deb", "devlog-" + version + ".tar.gz", "SHA256SUMS",
		"devlog_" + version + "_linux_" + runtime.GOARCH + ".tar.gz", "devlog_" + version + "_linux_" + runtime.GOARCH + ".devlogd.cdx.json"} {
		if built[0][name] == nil {
			t.Errorf("a release lacks %s", name)
		}
	}
}
