package engine

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// obstacles are what a container's root can put at the shared /dev/log, to keep its
// neighbours from logging.
var obstacles = map[string]func(t *testing.T, path string){
	"directory": func(t *testing.T, path string) {
		host.Check(t, os.Mkdir(path, 0o755))
		host.Check(t, os.WriteFile(path+"/kept", []byte("directory"), 0o644))
	},
	"regular file": func(t *testing.T, path string) { host.Check(t, os.WriteFile(path, []byte("file"), 0o644)) },
	"FIFO":         func(t *testing.T, path string) { host.Check(t, unix.Mkfifo(path, 0o666)) },
	"device": func(t *testing.T, path string) {
		host.Check(t, unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	},
	"link to a directory": func(t *testing.T, path string) {
		host.Check(t, os.Symlink("/etc", path))
	},
	"link to a file": func(t *testing.T, path string) { host.Check(t, os.Symlink("/dev/null", path)) },
}

// Whatever a neighbour puts at the shared /dev/log, containers and the host can still log: it
// is renamed, even if that name exists, and reported.
func TestEngineAside(t *testing.T) {
	host.NeedContainers(t)
	for what, make := range obstacles {
		for _, taken := range []string{"", "directory", "regular file"} {
			for _, side := range []string{"outside", "inside", "host"} {
				if taken == "" || side == "outside" && !strings.Contains(what, "link") {
					t.Run(fmt.Sprintf("%s/%s/%s", what, taken, side), func(t *testing.T) { moveAside(t, what, make, taken, side) })
				}
			}
		}
	}
}

func moveAside(t *testing.T, what string, make func(t *testing.T, path string), taken, side string) {
	h := host.NewHost(t)
	make(t, h.Path("/dev/log"))
	if taken != "" {
		obstacles[taken](t, h.Path(host.Aside))
	}
	c := host.NewCheap(t, h, "c1", host.CheapOptions{})
	inside, link := side == "inside", strings.Contains(what, "link")
	if side == "host" {
		if r := h.Do(host.HookOn(), "repair", "--host"); r.Code != 0 || !link && !strings.Contains(r.Out, "rename /dev/log to "+host.Aside) {
			t.Fatalf("repair --host: %+v", r)
		}
	}
	if r := c.Hook(inside, "repair", "--no-auto-repair"); r.Code != 0 || !link && side != "host" && !strings.Contains(r.Out, "rename /dev/log to "+host.Aside) {
		t.Fatalf("repair: %+v", r)
	}
	c.WantSent(t, c.Log(inside), "message-of-c1")
	if !link {
		if r := c.Hook(inside, "check"); r.Code != 0 || !strings.Contains(r.Out, host.Aside+" is a ") {
			t.Errorf("check: %+v", r)
		}
		if _, err := os.Lstat(h.Path(host.Aside)); err != nil {
			t.Error(err)
		}
		if side != "host" {
			host.WantOnce(t, c.Log(inside), "/dev/log was a "+what+", and is "+host.Aside+" now: check it, then remove it")
		}
	}
	// Files in renamed directories are still there.
	if n := len(slices.DeleteFunc(host.Snap(t, h.Path("/"), "/dev"), func(line string) bool { return !strings.HasSuffix(line, "/kept") })); n !=
		count(what == "directory")+count(taken == "directory") {
		t.Errorf("%d directories are kept", n)
	}
	// A container that starts later relies on the repaired /dev/log.
	later := host.NewCheap(t, h, "later", host.CheapOptions{})
	if r := later.Hook(false, "repair", "--no-auto-repair"); r.Code != 0 || strings.Contains(r.Out, "rename") {
		t.Errorf("the next repair: %+v", r)
	}
	if r := c.Hook(inside, "undo"); r.Code != 0 {
		t.Errorf("undo: %+v", r)
	}
	if !inside { // each has its own mount then
		later.WantSent(t, later.Log(false), "message-of-later")
	}
	if side == "host" {
		if r := h.Do(host.HookOn(), "undo", "--host"); r.Code != 0 {
			t.Errorf("undo --host: %+v", r)
		}
		if info, err := os.Lstat(h.Path("/dev/log")); err == nil && info.Mode().Type()&(os.ModeSocket|os.ModeSymlink) == 0 {
			t.Errorf("others rely on /dev/log, and it is %v", info.Mode())
		}
	}
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// Without containers that rely on it, the host's /dev/log is restored.
func TestHostAsideUndone(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	obstacles["directory"](t, h.Path("/dev/log"))
	before := host.Snap(t, h.Path("/"), "/dev", "/run")
	h.Must(host.HookOn(), "repair", "--host")
	h.Must(host.HookOn(), "undo", "--host")
	if after := host.Snap(t, h.Path("/"), "/dev", "/run"); !slices.Equal(before, after) {
		t.Errorf("%q\nwas\n%q", after, before)
	}
}

// What is put there while a confined receiver watches /dev/log is renamed too, whatever has
// the name that it gets.
func TestEngineAsideWhileKept(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	h.Must(host.HookOn(), "repair", "--host")
	c := host.NewCheap(t, h, "c1", host.CheapOptions{})
	if r := c.Hook(false, "repair", "--sandbox", "on"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	host.Eventually(t, "the receiver is confined", func() bool { return strings.Contains(c.Hook(false, "check").Out, ", confined (") })
	// The FIFO replaces the device, the directory takes the FIFO in, and then the others.
	for _, what := range []string{"device", "FIFO", "directory", "device", "regular file", "link to a directory", "link to a file"} {
		host.Check(t, os.Remove(h.Path("/dev/log")))
		obstacles[what](t, h.Path("/dev/log"))
		host.Eventually(t, "the repair of a "+what, func() bool {
			text, err := os.Readlink(h.Path("/dev/log"))
			return err == nil && text == "/run/devlog/log"
		})
	}
	if names, err := os.ReadDir(h.Path(host.Aside)); err != nil || len(names) != 4 { // the first, and these three
		t.Errorf("%s has %v, %v", host.Aside, names, err)
	}
	c.WantSent(t, c.Log(false), "still-there")
	c.Stop()
	host.ExpectReceiversEnd(t, h)
}
