package receiver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// A receiver that gets a signal to end during an upgrade ends in order: the signal is not lost,
// and does not kill it. strace(1) pauses the upgrade at different moments.
func TestUpgradeTerm(t *testing.T) {
	for name, tt := range map[string]struct{ call, at string }{
		"before the exec":  {"close_range", "close_range("},
		"the sockets kept": {"fcntl", "F_SETFD, 0)"},
		"the new program":  {"prctl", "prctl(PR_SET_NAME"}, // its first own call
	} {
		call := tt.call
		t.Run(name, func(t *testing.T) {
			host.NeedContainers(t, "strace")
			h := host.NewHost(t)
			cmd := h.Command(context.Background(), filepath.Join(host.BinDir, "devlogd"), "--listen", "/run/log", "--name", "box", "--rule", "*.* /var/log/messages")
			host.Check(t, cmd.Start())
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			host.Eventually(t, "it listens", func() bool { return host.CanConnect(h.Path("/run/log")) })
			pid := h.Receivers()[0]
			said := filepath.Join(t.TempDir(), "strace")
			trace := h.Command(context.Background(), "strace", "-f", "-o", said, "-p", fmt.Sprint(pid), "-e", "trace=execve,"+call, "-e", "inject="+call+":delay_enter=300000")
			host.Check(t, trace.Start())
			t.Cleanup(func() { _ = trace.Wait() }) // it ends with the receiver
			host.Eventually(t, "strace is attached", func() bool {
				status, err := os.ReadFile(h.Path(fmt.Sprintf("/proc/%d/status", pid)))
				return err == nil && !strings.Contains(string(status), "\nTracerPid:\t0\n")
			})
			h.Must("kill", "-USR2", fmt.Sprint(pid))
			host.Eventually(t, "it makes the call "+tt.at, func() bool {
				text, err := os.ReadFile(said)
				if err != nil {
					return false
				}
				own := ""
				for line := range strings.Lines(string(text)) { // not of the program that only looks
					if strings.HasPrefix(line, fmt.Sprint(pid, " ")) {
						own += line
					}
				}
				return strings.Contains(own, tt.at)
			})
			socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			host.Check(t, err)
			defer unix.Close(socket)
			host.Check(t, unix.Connect(socket, &unix.SockaddrUnix{Name: h.Path("/run/log")}))
			host.Check(t, host.Send(socket, "<13>test: last"))
			h.Must("kill", "-TERM", fmt.Sprint(pid))
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("its end: %v", err)
				}
			case <-time.After(host.Deadline):
				h.Must("kill", "-KILL", fmt.Sprint(pid))
				t.Fatal("it has not ended")
			}
			host.WantOnce(t, h.Path("/var/log/messages"), "last")
		})
	}
}
