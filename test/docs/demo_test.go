package docs

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// The demonstration checks itself. It must report success, and leave nothing on the machine.
func TestDemo(t *testing.T) {
	host.Need(t, "root")
	h := host.NewHost(t)
	dir, err := os.Getwd()
	host.Check(t, err)
	host.Overlay(h, "/etc")
	host.Check(t, os.WriteFile(h.Path("/etc/devlogd.conf"), []byte("no rule\n"), 0o644)) // of a devlog that is installed
	before := host.Tree(h)
	mounts, err := os.ReadFile(h.Path("/proc/1/mountinfo"))
	host.Check(t, err)
	r := h.Do(dir+"/demo.sh", host.BinDir)
	if r.Code != 0 || r.ErrOut != "" {
		t.Fatalf("demo.sh: exit code %d: %s\n%s", r.Code, r.ErrOut, r.Out)
	}
	at := 0
	for _, want := range []string{"MISDELIVERED", "LOST", "devlog-hook check", "devlog-hook repair", "REPAIRED"} {
		i := strings.Index(r.Out[at:], want)
		if i < 0 {
			t.Fatalf("demo.sh does not say %s where it should:\n%s", want, r.Out)
		}
		at += i
	}
	draw := exec.Command("go", "run", "./demosvg")
	draw.Stdin = strings.NewReader(r.Out)
	picture, err := draw.Output()
	host.Check(t, err)
	if shown, err := os.ReadFile("../docs/demo.svg"); err != nil || string(shown) != string(picture) {
		t.Errorf("docs/demo.svg is not what the demonstration shows: make demo-svg; %v", err)
	}
	after, err := os.ReadFile(h.Path("/proc/1/mountinfo"))
	host.Check(t, err)
	if !slices.Equal(mounts, after) {
		t.Errorf("mounts were\n%s\nand are\n%s", mounts, after)
	}
	host.ExpectNew(t, h, before)
}
