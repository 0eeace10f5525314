package test

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
)

const toStdout = "*.* container-stdout"

// wantLines checks that each text is the end of one line of the output.
func wantLines(t *testing.T, out string, texts ...string) {
	t.Helper()
	out = strings.ReplaceAll(out, "\r\n", "\n")
	for _, text := range texts {
		if n := strings.Count(out, ": "+text+"\n"); n != 1 {
			t.Errorf("the output holds %q %d times: %q", text, n, out)
		}
	}
}

// The messages of a container that logs and ends at once are in its output,
// whose end the runtime sees.
func TestContainerStdout(t *testing.T) {
	eachOCI(t, func(t *testing.T, h *Host, runtime, stage string) {
		c := NewOCI(t, h, runtime, "c1", "echo own; "+threeClients("a")+"exit 6")
		c.Hook(stage, "--rule", toStdout)
		c.Write()
		r := h.Do(c.Args("run")...)
		if r.Code != 6 || strings.Count(r.Out, "own\n") != 1 {
			t.Errorf("run: %+v", r)
		}
		wantLines(t, r.Out, threeTexts("a")...)
		expectReceiversEnd(t, h)
	})
}

// createWith creates a container whose output is w.
func createWith(t *testing.T, h *Host, c *OCI, w *os.File) {
	t.Helper()
	cmd := h.Command(t.Context(), c.Args("create")...)
	cmd.Stdout, cmd.Stderr = w, w
	check(t, cmd.Run())
	check(t, w.Close())
}

// An output that nobody reads stalls neither the container nor the other
// rules; what it does not get is counted, and its end is seen.
func TestContainerStdoutBlocked(t *testing.T) {
	needContainers(t, "runc")
	h := NewHost(t)
	c := NewOCI(t, h, "runc", "c1", "client -n 4000 burst 13 burst; "+hold)
	c.Hook("createRuntime", "--rule", toStdout, "--rule", "*.* -/var/log/devlog/c1/messages")
	c.Write()
	r, w, err := os.Pipe()
	check(t, err)
	createWith(t, h, c, w)
	c.Start()
	wantOnce(t, c.Log(), "burst 1.", "burst 4000.")
	pids := h.Receivers()
	if len(pids) != 1 {
		t.Fatalf("receivers: %v", pids)
	}
	h.Must("kill", "-USR1", strconv.Itoa(pids[0]))
	account := regexp.MustCompile(`container-stdout: written (\d+), pending (\d+)(?:, lost (\d+) \(container's standard output blocked\))?;`)
	var counts []string
	eventually(t, "an account", func() bool {
		text, err := os.ReadFile(c.Log())
		check(t, err)
		counts = account.FindStringSubmatch(string(text))
		return counts != nil
	})
	sum := 0
	for _, count := range counts[1:] {
		n, err := strconv.Atoi("0" + count)
		check(t, err)
		sum += n
	}
	if sum != 4001 && sum != 4000 { // the account may count itself
		t.Errorf("accounted for %d of 4000 messages: %q", sum, counts)
	}
	if counts[2] == "0" {
		t.Errorf("nothing waits for a reader that does not read: %q", counts)
	}
	release(t, c.Rootfs)
	c.WaitStopped()
	expectReceiversEnd(t, h)
	check(t, r.SetReadDeadline(time.Now().Add(deadline)))
	out, err := io.ReadAll(r)
	check(t, err)
	if len(out) == 0 || !bytes.HasSuffix(out, []byte(".\n")) {
		t.Errorf("the output has %d bytes, and ends in %.100q", len(out), out[max(0, len(out)-100):])
	}
	check(t, r.Close())
	h.Must(c.Args("delete")...)
}

// A receiver in the container writes to its first process's output as well.
func TestContainerStdoutInside(t *testing.T) {
	for _, runtime := range []string{"runc", "crun"} {
		t.Run(runtime, func(t *testing.T) {
			needContainers(t, runtime)
			h := NewHost(t)
			c := NewOCI(t, h, runtime, "c1", hookIn+" repair --rule '"+toStdout+"' >/dev/null && "+threeClients("a")+hold)
			c.Write()
			r, w, err := os.Pipe()
			check(t, err)
			createWith(t, h, c, w)
			c.Start()
			check(t, r.SetReadDeadline(time.Now().Add(deadline)))
			var out strings.Builder
			for lines := bufio.NewScanner(r); strings.Count(out.String(), ": ") < len(threeTexts("a")); {
				if !lines.Scan() {
					t.Fatalf("the output ends: %q, %v", &out, lines.Err())
				}
				out.WriteString(lines.Text() + "\n")
			}
			wantLines(t, out.String(), threeTexts("a")...)
			release(t, c.Rootfs)
			c.WaitStopped()
			check(t, r.Close())
			h.Must(c.Args("delete")...)
		})
	}
}

// The kernel's log, which the devices cgroup denies to a container, is said to be
// out of reach once, and the other rules go on.
func TestKernelLogDenied(t *testing.T) {
	needContainers(t, "runc")
	h := NewHost(t)
	c := NewOCI(t, h, "runc", "c1", hookIn+" repair --rule '*.* -/var/log/messages' --rule '*.* /dev/kmsg' >/dev/null && "+threeClients("a")+hold)
	c.Write().Create()
	c.Start()
	log := filepath.Join(c.Rootfs, "var/log/messages")
	const denied = "the kernel's log cannot be written here (open /dev/kmsg: operation not permitted): only what \"*.* /dev/kmsg\" sends there is counted as lost"
	wantOnce(t, log, append(threeTexts("a"), denied)...)
	release(t, c.Rootfs)
	c.WaitStopped()
	wantOnce(t, log, append(threeTexts("a"), denied)...)
	h.Must(c.Args("delete")...)
}

// A container with a terminal of its own gets it after the hook has run.
func TestContainerStdoutTerminal(t *testing.T) {
	needContainers(t, "runc", "script")
	h := NewHost(t)
	c := NewOCI(t, h, "runc", "c1", "echo own; "+threeClients("a")+hold)
	c.Config["process"].(map[string]any)["terminal"] = true
	c.Config["linux"].(map[string]any)["resources"] = map[string]any{"devices": []any{map[string]any{"allow": true, "access": "rwm"}}}
	c.Hook("createRuntime", "--rule", toStdout)
	c.Write()
	file := filepath.Join(t.TempDir(), "typescript")
	end := background(t, h, "script", "-q", "-f", "-e", "-c", strings.Join(c.Args("run"), " "), file)
	wantOnce(t, file, toCRLF(threeTexts("a"))...)
	release(t, c.Rootfs)
	end()
	expectReceiversEnd(t, h)
}

// toCRLF makes texts what wantOnce finds at the end of a terminal's line.
func toCRLF(texts []string) (list []string) {
	for _, text := range texts {
		list = append(list, text+"\r")
	}
	return list
}

// podman logs shows what the container logs.
func TestContainerStdoutPodman(t *testing.T) {
	needContainers(t, "podman", "runc")
	h := NewHost(t)
	dir := t.TempDir()
	rootfs, hooks := filepath.Join(dir, "rootfs"), filepath.Join(dir, "hooks.d")
	newRootfs(t, rootfs)
	check(t, os.Mkdir(hooks, 0o755))
	check(t, os.WriteFile(filepath.Join(hooks, "devlog.json"), fmt.Appendf(nil,
		`{"version": "1.0.0", "hook": {"path": %q, "args": ["devlog-hook", "oci", "--stage", "createRuntime", "--rule", %q]}, "when": {"always": true}, "stages": ["createRuntime"]}`,
		hookOn(), toStdout), 0o644))
	podman := func(args ...string) []string {
		return append([]string{"podman", "--root", dir + "/storage", "--runroot", "/run/podman", "--storage-driver", "vfs",
			"--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "none", "--hooks-dir", hooks}, args...)
	}
	r := h.Do(podman("run", "--name", "web", "--network", "none", "--log-driver", "k8s-file",
		"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096", "--volume", "/dev:/dev", "--rootfs", rootfs,
		"/bin/sh", "-c", "echo own; "+threeClients("x")+"exit 5")...)
	if r.Code != 5 {
		t.Fatalf("podman run: %+v", r)
	}
	logs := h.Must(podman("logs", "web")...)
	if strings.Count(logs.Out, "own\n") != 1 {
		t.Errorf("podman logs: %+v", logs)
	}
	wantLines(t, logs.Out, threeTexts("x")...)
	h.Must(podman("rm", "web")...)
}

// A FIFO without a reader, its first and its second one; devlogd's own output
// beside it.
func TestReceiverStreams(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	check(t, unix.Mkfifo(fifo, 0o600))
	r := &Receiver{t: t, Socket: filepath.Join(dir, "log"), File: filepath.Join(dir, "messages"), done: make(chan struct{}), errOut: new(bytes.Buffer)}
	out := r.startWithOutput("*.* |"+fifo, "*.* stdout", "*.* -"+r.File)
	fd := r.Connect()
	const sent = 3000
	lines := bufio.NewScanner(out)
	for i := 1; i <= sent; i++ {
		check(t, send(fd, fmt.Sprintf("<13>Jan  1 00:00:00 s: message %d.", i)))
		if !lines.Scan() || !strings.HasSuffix(lines.Text(), fmt.Sprintf(" s: message %d.", i)) {
			t.Fatalf("line %d of the standard output: %q", i, lines.Text())
		}
	}
	wantOnce(t, r.File, fmt.Sprintf("message %d.", sent))
	f, err := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0)
	check(t, err)
	defer f.Close()
	check(t, f.SetReadDeadline(time.Now().Add(deadline)))
	lines = bufio.NewScanner(f)
	for i := 1; i <= sent; i++ {
		if !lines.Scan() || !strings.HasSuffix(lines.Text(), fmt.Sprintf(" s: message %d.", i)) {
			t.Fatalf("line %d of the FIFO: %q, %v", i, lines.Text(), lines.Err())
		}
	}
	// A closed output is no reason to stop.
	check(t, out.Close())
	check(t, send(fd, "<13>Jan  1 00:00:00 s: after"))
	wantOnce(t, r.File, "after")
	if !lines.Scan() || !strings.HasSuffix(lines.Text(), " s: after") {
		t.Errorf("the FIFO has %q, %v", lines.Text(), lines.Err())
	}
}

// startWithOutput starts the receiver with rules and returns its standard
// output.
func (r *Receiver) startWithOutput(rules ...string) *os.File {
	r.t.Helper()
	args := []string{"--listen", r.Socket}
	for _, rule := range rules {
		args = append(args, "--rule", rule)
	}
	out, w, err := os.Pipe()
	check(r.t, err)
	check(r.t, out.SetReadDeadline(time.Now().Add(deadline)))
	r.start(args, w)
	check(r.t, w.Close())
	return out
}
