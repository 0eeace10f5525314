package receiver

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

const toStdout = "*.* container-stdout"

// The messages of a container that logs and ends at once are in its output, and the runtime sees the
// output's end.
func TestContainerStdout(t *testing.T) {
	host.EachOCI(t, func(t *testing.T, h *host.Host, runtime, stage string) {
		c := host.NewOCI(t, h, runtime, "c1", "echo own; "+host.ThreeClients("a")+"exit 6")
		c.Hook(stage, "--rule", toStdout)
		c.Write()
		r := h.Do(c.Args("run")...)
		if r.Code != 6 || strings.Count(r.Out, "own\n") != 1 {
			t.Errorf("run: %+v", r)
		}
		host.WantLines(t, r.Out, host.ThreeTexts("a")...)
		host.ExpectReceiversEnd(t, h)
	})
}

// createWith creates a container whose output is w.
func createWith(t *testing.T, h *host.Host, c *host.OCI, w *os.File) {
	t.Helper()
	cmd := h.Command(t.Context(), c.Args("create")...)
	cmd.Stdout, cmd.Stderr = w, w
	host.Check(t, cmd.Run())
	host.Check(t, w.Close())
}

// An output that nobody reads delays neither the container nor other outputs. What it does not
// get is counted, and its end is noticed.
func TestContainerStdoutBlocked(t *testing.T) {
	host.NeedContainers(t, "runc")
	h := host.NewHost(t)
	c := host.NewOCI(t, h, "runc", "c1", "client -n 4000 burst 13 burst; "+host.Hold)
	c.Hook("createRuntime", "--rule", toStdout, "--rule", "*.* -/var/log/devlog/c1/messages")
	c.Write()
	r, w, err := os.Pipe()
	host.Check(t, err)
	createWith(t, h, c, w)
	c.Start()
	host.WantOnce(t, c.Log(), "burst 1.", "burst 4000.")
	pids := h.Receivers()
	if len(pids) != 1 {
		t.Fatalf("receivers: %v", pids)
	}
	h.Must("kill", "-USR1", strconv.Itoa(pids[0]))
	account := regexp.MustCompile(`container-stdout: written (\d+), pending (\d+)(?:, lost (\d+) \(container's standard output blocked\))?;`)
	var counts []string
	host.Eventually(t, "an account", func() bool {
		text, err := os.ReadFile(c.Log())
		host.Check(t, err)
		counts = account.FindStringSubmatch(string(text))
		return counts != nil
	})
	sum := 0
	for _, count := range counts[1:] {
		n, err := strconv.Atoi("0" + count)
		host.Check(t, err)
		sum += n
	}
	if sum != 4001 && sum != 4000 { // the account may count itself
		t.Errorf("accounted for %d of 4000 messages: %q", sum, counts)
	}
	if counts[2] == "0" {
		t.Errorf("nothing waits for a reader that does not read: %q", counts)
	}
	host.Release(t, c.Rootfs)
	c.WaitStopped()
	host.ExpectReceiversEnd(t, h)
	host.Check(t, r.SetReadDeadline(time.Now().Add(host.Deadline)))
	out, err := io.ReadAll(r)
	host.Check(t, err)
	if len(out) == 0 || !bytes.HasSuffix(out, []byte(".\n")) {
		t.Errorf("the output has %d bytes, and ends in %.100q", len(out), out[max(0, len(out)-100):])
	}
	host.Check(t, r.Close())
	h.Must(c.Args("delete")...)
}

// A receiver in the container writes to its first process's output as well.
func TestContainerStdoutInside(t *testing.T) {
	for _, runtime := range []string{"runc", "crun"} {
		t.Run(runtime, func(t *testing.T) {
			host.NeedContainers(t, runtime)
			h := host.NewHost(t)
			c := host.NewOCI(t, h, runtime, "c1", host.HookIn+" repair --rule '"+toStdout+"' >/dev/null && "+host.ThreeClients("a")+host.Hold)
			c.Write()
			r, w, err := os.Pipe()
			host.Check(t, err)
			createWith(t, h, c, w)
			c.Start()
			host.Check(t, r.SetReadDeadline(time.Now().Add(host.Deadline)))
			var out strings.Builder
			for lines := bufio.NewScanner(r); strings.Count(out.String(), ": ") < len(host.ThreeTexts("a")); {
				if !lines.Scan() {
					t.Fatalf("the output ends: %q, %v", &out, lines.Err())
				}
				out.WriteString(lines.Text() + "\n")
			}
			host.WantLines(t, out.String(), host.ThreeTexts("a")...)
			host.Release(t, c.Rootfs)
			c.WaitStopped()
			host.Check(t, r.Close())
			h.Must(c.Args("delete")...)
		})
	}
}

// If the devices cgroup denies the kernel's log, that is reported once, and the other rules
// still work.
func TestKernelLogDenied(t *testing.T) {
	host.NeedContainers(t, "runc")
	h := host.NewHost(t)
	c := host.NewOCI(t, h, "runc", "c1", host.HookIn+" repair --rule '*.* -/var/log/messages' --rule '*.* /dev/kmsg' >/dev/null && "+host.ThreeClients("a")+host.Hold)
	c.Write().Create()
	c.Start()
	log := filepath.Join(c.Rootfs, "var/log/messages")
	const denied = "the kernel's log cannot be written here (cannot open /dev/kmsg: operation not permitted): only what \"*.* /dev/kmsg\" sends there is counted as lost"
	host.WantOnce(t, log, append(host.ThreeTexts("a"), denied)...)
	host.Release(t, c.Rootfs)
	c.WaitStopped()
	host.WantOnce(t, log, append(host.ThreeTexts("a"), denied)...)
	h.Must(c.Args("delete")...)
}

// A container with a terminal gets it after the hook has run.
func TestContainerStdoutTerminal(t *testing.T) {
	host.NeedContainers(t, "runc", "script")
	h := host.NewHost(t)
	c := host.NewOCI(t, h, "runc", "c1", "echo own; "+host.ThreeClients("a")+host.Hold)
	c.Config["process"].(map[string]any)["terminal"] = true
	c.Config["linux"].(map[string]any)["resources"] = map[string]any{"devices": []any{map[string]any{"allow": true, "access": "rwm"}}}
	c.Hook("createRuntime", "--rule", toStdout)
	c.Write()
	file := filepath.Join(t.TempDir(), "typescript")
	end := host.Background(t, h, "script", "-q", "-f", "-e", "-c", strings.Join(c.Args("run"), " "), file)
	host.WantOnce(t, file, toCRLF(host.ThreeTexts("a"))...)
	host.Release(t, c.Rootfs)
	end()
	host.ExpectReceiversEnd(t, h)
}

// toCRLF returns the texts as host.WantOnce finds them at the ends of a terminal's lines.
func toCRLF(texts []string) (list []string) {
	for _, text := range texts {
		list = append(list, text+"\r")
	}
	return list
}

// podman logs shows what the container logs.
func TestContainerStdoutPodman(t *testing.T) {
	host.NeedContainers(t, "podman", "runc")
	h := host.NewHost(t)
	dir := t.TempDir()
	rootfs, hooks := filepath.Join(dir, "rootfs"), filepath.Join(dir, "hooks.d")
	host.NewRootfs(t, rootfs)
	host.Check(t, os.Mkdir(hooks, 0o755))
	host.Check(t, os.WriteFile(filepath.Join(hooks, "devlog.json"), fmt.Appendf(nil,
		`{"version": "1.0.0", "hook": {"path": %q, "args": ["devlog-hook", "oci", "--stage", "createRuntime", "--rule", %q]}, "when": {"always": true}, "stages": ["createRuntime"]}`,
		host.HookOn(), toStdout), 0o644))
	podman := func(args ...string) []string {
		return append([]string{"podman", "--root", dir + "/storage", "--runroot", "/run/podman", "--storage-driver", "vfs",
			"--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "none", "--hooks-dir", hooks}, args...)
	}
	r := h.Do(podman("run", "--name", "web", "--network", "none", "--log-driver", "k8s-file",
		"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096", "--volume", "/dev:/dev", "--rootfs", rootfs,
		"/bin/sh", "-c", "echo own; "+host.ThreeClients("x")+"exit 5")...)
	if r.Code != 5 {
		t.Fatalf("podman run: %+v", r)
	}
	logs := h.Must(podman("logs", "web")...)
	if strings.Count(logs.Out, "own\n") != 1 {
		t.Errorf("podman logs: %+v", logs)
	}
	host.WantLines(t, logs.Out, host.ThreeTexts("x")...)
	h.Must(podman("rm", "web")...)
}

// A FIFO without a reader, with a first and with a second one, and devlogd's own standard output.
func TestReceiverStreams(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	host.Check(t, unix.Mkfifo(fifo, 0o600))
	r := &host.Receiver{T: t, Socket: filepath.Join(dir, "log"), File: filepath.Join(dir, "messages"), Done: make(chan struct{}), ErrOut: new(bytes.Buffer)}
	out := r.StartWithOutput("*.* |"+fifo, "*.* stdout", "*.* -"+r.File)
	fd := r.Connect()
	const sent = 3000
	lines := bufio.NewScanner(out)
	for i := 1; i <= sent; i++ {
		host.Check(t, host.Send(fd, fmt.Sprintf("<13>Jan  1 00:00:00 s: message %d.", i)))
		if !lines.Scan() || !strings.HasSuffix(lines.Text(), fmt.Sprintf(" s: message %d.", i)) {
			t.Fatalf("line %d of the standard output: %q", i, lines.Text())
		}
	}
	host.WantOnce(t, r.File, fmt.Sprintf("message %d.", sent))
	f, err := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0)
	host.Check(t, err)
	defer f.Close()
	host.Check(t, f.SetReadDeadline(time.Now().Add(host.Deadline)))
	lines = bufio.NewScanner(f)
	for i := 1; i <= sent; i++ {
		if !lines.Scan() || !strings.HasSuffix(lines.Text(), fmt.Sprintf(" s: message %d.", i)) {
			t.Fatalf("line %d of the FIFO: %q, %v", i, lines.Text(), lines.Err())
		}
	}
	// A closed output is no reason to stop.
	host.Check(t, out.Close())
	host.Check(t, host.Send(fd, "<13>Jan  1 00:00:00 s: after"))
	host.WantOnce(t, r.File, "after")
	if !lines.Scan() || !strings.HasSuffix(lines.Text(), " s: after") {
		t.Errorf("the FIFO has %q, %v", lines.Text(), lines.Err())
	}
}
