package docs

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

	"devlog/test/host"
)

// Every row of SECURITY.md's table names an attacker, the attack, the defence and an existing test.
func TestThreats(t *testing.T) {
	text, err := os.ReadFile("../SECURITY.md")
	host.Check(t, err)
	tests := testNames(t, "*/*_test.go")
	packages, err := filepath.Glob("../internal/*")
	host.Check(t, err)
	for _, dir := range append(packages, "../nri") {
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

// A link is mounted over the host's live socket in one container. The container's root forges a record
// of a repair that replaced the socket.
func TestEngineHostileMountedLog(t *testing.T) {
	h := host.NewVictim(t)
	before := host.Guarded(t, h)
	c := host.NewCheap(t, h, "forger", host.CheapOptions{})
	if r := c.Hook(false, "repair", "--no-auto-repair", "--strategy", "bind"); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	at := c.Path("/run/devlog/.devlog-repair")
	for _, was := range []string{"link", "socket", "absent"} {
		forged := fmt.Sprintf(`{"mount_ns":%d,"was":"%s","was_link":"%s","set":"/run/devlog/log","socket":"/run/devlog/other"}`, host.Number(t, h, c.PID, "mnt"), was, host.Sentinel+"/file")
		host.Check(t, os.RemoveAll(at))
		host.Check(t, os.WriteFile(at, []byte(forged), 0o644))
		host.Sensible(t, c.Hook(false, "undo"), was+": undo")
		host.ExpectWorld(t, before, host.Guarded(t, h))
		if r := c.Exec("readlink", "/dev/log"); r.Out != "/run/devlog/log\n" {
			t.Fatalf("%s: /dev/log in the container: %+v: not what is to be tried", was, r)
		}
		host.Check(t, os.MkdirAll(filepath.Dir(at), 0o755))
	}
	c.Stop()
	host.ExpectReceiversEnd(t, h)
}

// A container's root mounts over the names that a repair uses, while the host repairs the container.
func TestEngineHostileMounts(t *testing.T) {
	h := host.NewVictim(t)
	before := host.Guarded(t, h)
	c := host.NewCheap(t, h, "mounter", host.CheapOptions{After: "mkdir /run/devlog /evil; ln -s " + host.Sentinel + "/file /evil/log; ln -s " + host.Sentinel + "/file /evil/.devlog-repair"})
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
	host.Check(t, attacker.Start())
	for limit := time.Now().Add(5 * time.Second); time.Now().Before(limit); {
		for _, args := range [][]string{{"repair", "--no-auto-repair"}, {"undo"}, {"repair", "--no-auto-repair", "--strategy", "bind"}, {"undo"}} {
			host.Sensible(t, c.Hook(false, args...), fmt.Sprint(args))
		}
	}
	rounds, err := os.ReadFile(c.Path("/tmp/rounds"))
	if err != nil || len(rounds) < len("10\n") {
		t.Errorf("only %q rounds, %v", rounds, err)
	}
	c.Stop()
	_ = attacker.Wait() // killed with its container
	host.ExpectReceiversEnd(t, h)
	host.ExpectWorld(t, before, host.Guarded(t, h))
}
