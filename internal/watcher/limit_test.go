package watcher

import (
	"bytes"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"devlog/internal/rerun/reruntest"
	"devlog/internal/watches"
)

// inLimit says that the test runs in a user namespace with a limit of its own.
const inLimit = "DEVLOG_TEST_IN_LIMIT"

// The watchers of a process need one inotify(7) instance, however low the limit of a user is
// (user.max_inotify_instances of namespaces(7)).
func TestInstancesLimited(t *testing.T) {
	if os.Getenv(inLimit) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), inLimit+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Skip("no user namespace: ", err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, &out)
		}
		return
	}
	if err := os.WriteFile("/proc/sys/user/max_inotify_instances", []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	shared := watches.NewInstance(func(int, func()) error { return nil })
	var last *fake
	var box *reruntest.Box
	for range 3 {
		box = reruntest.New(t, "nothing")
		last = startingWith(box, Config{Watches: shared})
		last.text = reruntest.ToLog
		box.Listen()
		last.Step(last.Next())
		if !last.watches.IsOpen() || len(last.said) > 0 {
			t.Fatalf("it does not watch: %q", last.said)
		}
	}
	box.Must(reruntest.Relink(box.Root, "elsewhere"))
	if last.readEvents(); !last.watches.Named {
		t.Error("a replaced /dev/log is no event")
	}
	other := startingWith(box, Config{}) // as of another process
	if other.Step(time.Now().Add(2 * watchDelay)); len(other.said) == 0 {
		t.Error("the limit is not effective")
	}
}
