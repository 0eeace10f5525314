package test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Every row of SECURITY.md's table says who attacks, with what, what stops them
// and which test shows it; that test is there.
func TestThreats(t *testing.T) {
	text, err := os.ReadFile("../SECURITY.md")
	check(t, err)
	tests := testNames(t, "*_test.go")
	packages, err := filepath.Glob("../internal/*")
	check(t, err)
	for _, dir := range packages {
		maps.Copy(tests, testNames(t, dir+"/*_test.go"))
	}
	name := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`")
	attackers := []string{"container root", "container user", "compromised sender", "writer of annotations", "host user"}
	rows, seen := 0, set{}
	_, threats, _ := strings.Cut(string(text), "\n## Threats\n")
	threats, _, _ = strings.Cut(threats, "\n## ")
	for line := range strings.Lines(threats) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "| ---") || strings.HasPrefix(line, "| who ") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(line, "|"), " | ")
		if len(cells) != 4 {
			t.Errorf("%d columns: %s", len(cells), line)
			continue
		}
		who := strings.TrimSpace(cells[0])
		if !slices.Contains(attackers, who) {
			t.Errorf("who is %q? %s", who, line)
		}
		seen[who] = true
		for _, m := range name.FindAllStringSubmatch(cells[3], -1) {
			if !tests[m[1]] {
				t.Errorf("there is no %s: %s", m[1], line)
			}
		}
		if !name.MatchString(cells[3]) && !strings.Contains(cells[3], "none:") {
			t.Errorf("neither a test, nor why there is none: %s", line)
		}
	}
	if rows < 30 || len(seen) != len(attackers) {
		t.Errorf("%d rows, of %v", rows, seen)
	}
}

// A live socket of the host with a link mounted over it in one container, whose
// root forges a record of a repair that has replaced it.
func TestEngineHostileMountedLog(t *testing.T) {
	h := newVictim(t)
	before := guarded(t, h)
	c := NewCheap(t, h, "forger", cheapOptions{})
	if r := c.Hook(false, "repair", "--no-heal", "--strategy", "bind"); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	at := c.Path("/run/devlog/.devlog-repair")
	for _, was := range []string{"link", "socket", "absent"} {
		forged := fmt.Sprintf(`{"mount_ns":%d,"was":"%s","was_link":"%s","set":"/run/devlog/log","socket":"/run/devlog/other"}`, number(t, h, c.PID, "mnt"), was, sentinel+"/file")
		check(t, os.RemoveAll(at))
		check(t, os.WriteFile(at, []byte(forged), 0o644))
		sensible(t, c.Hook(false, "undo"), was+": undo")
		expectWorld(t, before, guarded(t, h))
		if r := c.Exec("readlink", "/dev/log"); r.Out != "/run/devlog/log\n" {
			t.Fatalf("%s: /dev/log in the container: %+v: not what is to be tried", was, r)
		}
		check(t, os.MkdirAll(filepath.Dir(at), 0o755))
	}
	c.Stop()
	expectReceiversEnd(t, h)
}

// A container's root that mounts over the names that a repair uses, while it is
// repaired from the host.
func TestEngineHostileMounts(t *testing.T) {
	h := newVictim(t)
	before := guarded(t, h)
	c := NewCheap(t, h, "mounter", cheapOptions{after: "mkdir /run/devlog /evil; ln -s " + sentinel + "/file /evil/log; ln -s " + sentinel + "/file /evil/.devlog-repair"})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	const mounts = `i=0
while :; do
	mount -n -t tmpfs evil /run/devlog && umount -l /run/devlog
	mount -n --bind /evil /run/devlog && umount -l /run/devlog
	mount -n --bind /evil /dev && umount -l /dev
	mount -n -t tmpfs evil /run && umount -l /run
	i=$((i+1)); echo $i >/tmp/rounds
done 2>/dev/null`
	attacker := h.Command(ctx, c.Args("/bin/sh", "-c", mounts)...)
	check(t, attacker.Start())
	for limit := time.Now().Add(5 * time.Second); time.Now().Before(limit); {
		for _, args := range [][]string{{"repair", "--no-heal"}, {"undo"}, {"repair", "--no-heal", "--strategy", "bind"}, {"undo"}} {
			sensible(t, c.Hook(false, args...), fmt.Sprint(args))
		}
	}
	rounds, err := os.ReadFile(c.Path("/tmp/rounds"))
	if err != nil || len(rounds) < len("10\n") {
		t.Errorf("only %q rounds, %v", rounds, err)
	}
	c.Stop()
	_ = attacker.Wait() // killed with its container
	expectReceiversEnd(t, h)
	expectWorld(t, before, guarded(t, h))
}
