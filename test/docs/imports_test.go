package docs

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// levels orders the packages: each imports only from levels below its own.
var levels = [][]string{
	{"internal/syslog", "internal/file", "internal/file/filetest", "internal/pidfd", "internal/memfd", "internal/rights", "internal/names", "internal/environ", "internal/annotation", "internal/uniprocessor", "internal/earlysignal", "internal/crash", "internal/watchdog", "internal/pace", "internal/usage", "internal/notify", "hooks"},
	{"internal/dirfd", "internal/eventloop", "internal/handover", "internal/safepath", "internal/watches", "internal/configfile", "internal/lxcexec", "internal/metrics", "internal/timezone", "internal/kmsg", "internal/listen", "internal/batch"},
	{"internal/output", "internal/journal", "internal/record"},
	{"internal/hook", "internal/rootfs", "internal/nodecall", "internal/daemon", "internal/sandbox", "internal/logfile", "internal/sink", "internal/relay", "internal/syslogconf", "internal/wrapper", "internal/rerun", "internal/rerun/reruntest", "internal/output/outputtest"},
	{"internal/changes", "internal/cleanup", "internal/devdir", "internal/plan", "internal/containers", "internal/intake", "internal/lost", "internal/worker", "internal/rootfs/rootfstest"},
	{"internal/target", "internal/process"},
	{"internal/running", "internal/failure", "internal/launch", "internal/watcher", "internal/router"},
	{"internal/inspect", "internal/settings", "internal/oldlogs", "internal/counters"},
	{"internal/repair", "internal/receiver"},
	{"internal/hosts", "internal/confine"},
	{"internal/reader"},
	{"internal/node"},
	{"internal/undo", "internal/report", "internal/devlogd"},
	{"internal/cli"},
}

// mains are the programs, and the packages of this module that each may import.
var mains = map[string][]string{
	"cmd/devlog-hook":    {"internal/cli"},
	"cmd/devlogd":        {"internal/devlogd", "internal/uniprocessor"},
	"cmd/devlog-runtime": {"internal/wrapper"},
}

// pkg is the part of go list's output about a package that the tests need.
type pkg struct {
	ImportPath string
	Imports    []string
}

func goList(t *testing.T, args ...string) (list []pkg) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-tags", "urfave_cli_no_docs", "-json=ImportPath,Imports"}, args...)...)
	out, err := cmd.StdoutPipe()
	host.Check(t, err)
	host.Check(t, cmd.Start())
	for d := json.NewDecoder(out); ; {
		var p pkg
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		host.Check(t, err)
		list = append(list, p)
	}
	host.Check(t, cmd.Wait())
	return list
}

func level(name string) int {
	return slices.IndexFunc(levels, func(names []string) bool { return slices.Contains(names, name) })
}

func TestImportDirection(t *testing.T) {
	seen := 0
	for _, p := range goList(t, "devlog/cmd/...", "devlog/internal/...", "devlog/hooks") {
		name := strings.TrimPrefix(p.ImportPath, "devlog/")
		allowed, isMain := mains[name]
		if isMain || level(name) >= 0 {
			seen++
		} else {
			t.Errorf("%s has no level: give it one", name)
		}
		for _, imported := range p.Imports {
			imported, ours := strings.CutPrefix(imported, "devlog/")
			if !ours {
				continue
			}
			if isMain && !slices.Contains(allowed, imported) || !isMain && level(imported) >= level(name) {
				t.Errorf("%s imports %s", name, imported)
			}
		}
	}
	if want := len(slices.Concat(levels...)) + len(mains); seen != want {
		t.Errorf("%d packages found, want %d", seen, want)
	}
}

// The page about the packages names all of them, in this order.
func TestArchitecture(t *testing.T) {
	text, err := os.ReadFile("../docs/architecture.md")
	host.Check(t, err)
	for i, names := range levels {
		below := "```" // the end of the list
		if i > 0 {
			below = strings.Join(levels[i-1], " ")
		}
		if rows := "\n" + strings.Join(names, " ") + "\n" + below + "\n"; !strings.Contains(string(text), rows) {
			t.Errorf("the page lacks the rows%s", rows)
		}
		for _, name := range names {
			if !strings.Contains(string(text), "\n| `"+name+"` | ") {
				t.Errorf("the page does not say what %s owns", name)
			}
		}
	}
	for name := range mains {
		if !strings.Contains(string(text), "\n| `"+path.Base(name)+"` | ") {
			t.Errorf("the page does not say what %s is", name)
		}
	}
}

// The receiver stays small: it runs once for every container.
func TestReceiverImports(t *testing.T) {
	list := goList(t, "-deps", "devlog/cmd/devlogd")
	if len(list) < 10 {
		t.Fatalf("go list finds only %d packages", len(list))
	}
	for _, p := range list {
		for _, heavy := range []string{"net", "net/*", "text/template", "os/exec", "github.com/urfave/*", "github.com/urfave/cli/*"} {
			if ok, err := path.Match(heavy, p.ImportPath); err != nil || ok {
				t.Errorf("devlogd imports %s (%v)", p.ImportPath, err)
			}
		}
	}
}
