package target

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"devlog/internal/pidfd"
)

// A process whose cgroup has no name does not get the name of an earlier process with the
// same ID.
func TestNameOfProcess(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	started, err := pidfd.StartTime(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	name := NameOfProcess(cmd.Process.Pid)
	if text, err := os.ReadFile("/proc/self/cgroup"); err == nil && !strings.HasPrefix(name, "pid-") {
		t.Skipf("this test runs in a container with a name: %s", text)
	}
	if !strings.HasSuffix(name, "-"+started) {
		t.Errorf("it is called %s, and started at %s", name, started)
	}
}

func TestNameOfRoot(t *testing.T) {
	for root, want := range map[string]string{
		"/var/lib/lxc/web/rootfs": "web", "/srv/web": "web", "/srv/web/": "web", "/rootfs": "/",
	} {
		if got := NameOfRoot(root); got != want {
			t.Errorf("NameOfRoot(%s) = %s, want %s", root, got, want)
		}
	}
}
