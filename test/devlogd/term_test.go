package devlogd

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"devlog/internal/handover"
	"devlog/internal/rerun/reruntest"

	"golang.org/x/sys/unix"
)

// firstProcess starts a process that plays a container's first process. It returns its pidfd
// and a function that ends it.
func firstProcess(t *testing.T) (init passed, end func()) {
	t.Helper()
	p := exec.Command("sleep", "1000")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		_ = p.Process.Kill()
		_ = p.Wait() // it was killed
	})
	t.Cleanup(end)
	fd, err := unix.PidfdOpen(p.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	return passed{handover.NameInit, os.NewFile(uintptr(fd), "pidfd")}, end
}

const awaitsContainer = ": received SIGTERM: devlogd keeps running until its container ends; to end it now, run: kill -INT "

// On SIGTERM a receiver continues until its container ends, across an upgrade too,
// and says so once.
func TestTermAwaitsContainer(t *testing.T) {
	t.Parallel()
	b := newBox(t, "link")
	init, end := firstProcess(t)
	d := b.keep(init)
	fd := dial(t, b.Dev)
	d.signal(unix.SIGTERM)
	await(t, b.Log, awaitsContainer)
	d.signal(unix.SIGUSR2)
	awaitTimes(t, b.Log, upgraded, 1)
	d.signal(unix.SIGTERM)
	d.signal(unix.SIGUSR2) // it is done after the signal before it
	awaitTimes(t, b.Log, upgraded, 2)
	send(t, fd, "<13>app: last")
	await(t, b.Log, "box app: last\n")
	b.Must(os.Remove(b.Dev)) // it keeps the repair as well
	b.leads(reruntest.ToLog)
	b.record(d.cmd.Process.Pid)
	d.signal(unix.SIGSTOP) // the very last message, the signal and the end come at once
	send(t, fd, "<13>app: very last")
	d.signal(unix.SIGTERM)
	end()
	d.signal(unix.SIGCONT)
	if code := d.wait(); code != 0 || d.stderr.Len() > 0 {
		t.Errorf("exit code %d, stderr %q", code, &d.stderr)
	}
	text := content(t, b.Log)
	if n := strings.Count(text, "SIGTERM"); n != 1 || !strings.Contains(text, "box app: very last\n") {
		t.Errorf("%d times in %q", n, text)
	}
	if _, err := os.Lstat(b.Sock); err == nil {
		t.Error("the socket is left")
	}
}

// SIGINT ends a receiver while its container runs, also after SIGTERM. In a container, SIGTERM
// does: the container's init waits for all processes.
func TestTermEnds(t *testing.T) {
	for _, tt := range []struct {
		name    string
		args    []string
		signals []unix.Signal
		says    int
	}{
		{"INT", nil, []unix.Signal{unix.SIGINT}, 0},
		{"TERM, INT", nil, []unix.Signal{unix.SIGTERM, unix.SIGINT}, 1},
		{"inside", []string{"--exit-when-alone"}, []unix.Signal{unix.SIGTERM}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, "link")
			init, _ := firstProcess(t)
			d := b.keepWith(tt.args, init)
			send(t, dial(t, b.Dev), "<13>app: last")
			for _, s := range tt.signals {
				d.signal(s)
			}
			if code := d.wait(); code != 0 || d.stderr.Len() > 0 {
				t.Errorf("exit code %d, stderr %q", code, &d.stderr)
			}
			text := content(t, b.Log)
			if n := strings.Count(text, awaitsContainer); n > tt.says || !strings.Contains(text, "box app: last\n") {
				t.Errorf("%d times in %q", n, text)
			}
		})
	}
}
