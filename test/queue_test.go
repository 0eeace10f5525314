package test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const queueFile = "/proc/sys/net/unix/max_dgram_qlen"

// queued stops the container's receiver and counts the messages that its socket
// takes without it.
func queued(t *testing.T, h *Host, rootfs string) int {
	t.Helper()
	pids := h.Receivers()
	if len(pids) != 1 {
		t.Fatalf("receivers: %v, want one", pids)
	}
	pid := strconv.Itoa(pids[0])
	h.Must("kill", "-STOP", pid)
	defer h.Must("kill", "-CONT", pid)
	dir, err := os.Open(filepath.Join(rootfs, "run/devlog"))
	check(t, err)
	defer dir.Close()
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	check(t, err)
	defer unix.Close(s)
	check(t, unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 4<<20)) // the queue is to be full first
	// The path itself may be too long for a socket.
	check(t, unix.Connect(s, &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/log"}))
	eventually(t, "the receiver has stopped", func() bool {
		return strings.Contains(h.Must("cat", "/proc/"+pid+"/stat").Out, ") T ")
	})
	for n := 0; ; n++ {
		err := unix.Send(s, []byte("<14>test: queued "+strconv.Itoa(n+1)+"."), 0)
		if errors.Is(err, unix.EAGAIN) {
			return n
		}
		check(t, err)
	}
}

// expectQueue compares the number of queued messages with the setting of a
// network namespace: one more waits at the sender's side.
func expectQueue(t *testing.T, got, want int) {
	t.Helper()
	if got < want || got > want+1 {
		t.Errorf("the socket takes %d messages, want %d", got, want)
	}
}

// Where the container has a network namespace of its own its socket's queue is a
// longer one, and the namespace's own setting is what it was; the host's is never
// another one.
func TestQueueOCI(t *testing.T) {
	for _, runtime := range []string{"runc", "crun"} {
		for _, own := range []bool{true, false} {
			t.Run(runtime+map[bool]string{true: "/own", false: "/shared"}[own], func(t *testing.T) {
				needContainers(t, runtime)
				h := NewHost(t)
				before, err := strconv.Atoi(strings.TrimSpace(h.Must("cat", queueFile).Out))
				check(t, err)
				c := NewOCI(t, h, runtime, "c1", hold)
				want := before
				if own {
					linux := c.Config["linux"].(map[string]any)
					linux["namespaces"] = append(linux["namespaces"].([]any), map[string]any{"type": "network"})
					want = 512
				}
				c.Hook("prestart")
				c.Write().Create()
				c.Start()
				defer waitHeld(t, c.Rootfs).Close() // a shell that still opens is interrupted by a child's stop
				n := queued(t, h, c.Rootfs)
				expectQueue(t, n, want)
				for where, got := range map[string]string{
					"the container": c.Exec("cat", queueFile).Out, "the host": h.Must("cat", queueFile).Out,
				} {
					if strings.TrimSpace(got) != strconv.Itoa(before) {
						t.Errorf("%s is left with a queue length of %q, want %d", where, got, before)
					}
				}
				release(t, c.Rootfs)
				c.WaitStopped()
				expectReceiversEnd(t, h)
				var sent []string
				for i := range n {
					sent = append(sent, "queued "+strconv.Itoa(i+1)+".")
				}
				wantOnce(t, c.Log(), sent...)
				h.Must(c.Args("delete")...)
			})
		}
	}
}

// The same from inside a container.
func TestQueueLXC(t *testing.T) {
	needContainers(t, "lxc")
	h := NewHost(t)
	before := h.Must("cat", queueFile).Out
	c := NewLXC(t, h, "c1")
	c.Start(hold)
	defer waitHeld(t, c.Rootfs).Close()
	expectQueue(t, queued(t, h, c.Rootfs), 512)
	for where, got := range map[string]string{
		"the container": c.Attach("/bin/cat", queueFile).Out, "the host": h.Must("cat", queueFile).Out,
	} {
		if got != before {
			t.Errorf("%s is left with a queue length of %q, want %q", where, got, before)
		}
	}
	release(t, c.Rootfs)
	c.WaitStopped()
}
