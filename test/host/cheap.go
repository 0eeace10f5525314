package host

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Cheap is a container made only of namespaces, which starts in a few milliseconds.
// It has a tmpfs with the template's programs as its root, its own /run and
// /var/log, and the host's /dev.
type Cheap struct {
	H    *Host
	Name string
	PID  int // of its first process, as the host numbers it
	bin  string
	stop func()
}

// cheapScript makes the container. Its parts in between come from CheapOptions.
// The first process is cat, which ends with its standard input.
const cheapScript = `
set -eu
read -r pid _ </proc/self/stat # of the host, whose /proc this still is
template=$1 bin=$2 root=$3
hostname "$4"
mount -n -t tmpfs -o mode=755 root "$root"
cd "$root"
mkdir bin dev etc lib lib64 usr opt opt/devlog proc run sys tmp var var/log
for d in bin lib lib64 usr; do [ ! -d "$template/$d" ] || mount -n --bind "$template/$d" $d; done
mount -n --bind "$bin" opt/devlog
mount -n -t proc proc proc
%s
mkdir .old
pivot_root . .old
mount -n --make-rprivate /.old # or the host's mounts go with it
umount -l /.old
busybox rmdir /.old
%s
exec 3>&1 >&2 # there may be no /dev/null
echo "$pid" >&3
exec 3>&-
exec /bin/cat
`

// CheapOptions are the parts of cheapScript that a test can replace.
type CheapOptions struct {
	Dev   string // mounts /dev
	Run   string // mounts /run
	After string // run first in the container
	Bin   string // the directory of the programs under test
}

// NewCheap starts a container, which ends with the test or with Stop.
func NewCheap(t *testing.T, h *Host, name string, o CheapOptions) *Cheap {
	t.Helper()
	if o.Dev == "" {
		o.Dev = "mount -n --rbind /dev dev"
	}
	if o.Run == "" {
		o.Run = "mount -n -t tmpfs -o mode=755 run run"
	}
	if o.Bin == "" {
		o.Bin = BinDir
	}
	root := filepath.Join(t.TempDir(), name)
	Check(t, os.Mkdir(root, 0o755))
	script := fmt.Sprintf(cheapScript, o.Dev+"\n"+o.Run, o.After)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := h.Command(ctx, "unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--propagation", "unchanged", "--",
		"/bin/sh", "-c", script, "container", template, o.Bin, root, name)
	in, err := cmd.StdinPipe()
	Check(t, err)
	out, err := cmd.StdoutPipe()
	Check(t, err)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	Check(t, cmd.Start())
	c := &Cheap{H: h, Name: name, bin: o.Bin}
	stopped := false
	c.stop = func() {
		if !stopped {
			stopped = true
			_ = in.Close()
			_ = cmd.Wait() // it may have been killed
			cancel()
		}
	}
	t.Cleanup(c.stop)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		c.stop()
		t.Fatalf("start the container %s: %q, %v\n%s", name, line, err, &errOut)
	}
	if _, err := fmt.Sscan(line, &c.PID); err != nil {
		t.Fatalf("start the container %s: %q: %v", name, line, err)
	}
	return c
}

// Stop ends the container, and waits for its end.
func (c *Cheap) Stop() { c.stop() }

// Args returns a command of the host that runs the command in the container.
func (c *Cheap) Args(args ...string) []string {
	return append([]string{"nsenter", fmt.Sprintf("--target=%d", c.PID), "--mount", "--pid", "--uts", "--root", "--wd", "--"}, args...)
}

// Exec runs a command in the container.
func (c *Cheap) Exec(args ...string) Result {
	c.H.T.Helper()
	return c.H.Do(c.Args(args...)...)
}

// Sh runs a script in the container. It must succeed.
func (c *Cheap) Sh(script string) string {
	c.H.T.Helper()
	r := c.Exec("/bin/sh", "-euc", script)
	if r.Code != 0 {
		c.H.T.Fatalf("%s: %q: %+v", c.Name, script, r)
	}
	return r.Out
}

// Path returns the container's file name as the test sees it.
func (c *Cheap) Path(name string) string {
	return filepath.Join(c.H.Path(fmt.Sprintf("/proc/%d/root", c.PID)), name)
}

// Log returns the container's log file, of a receiver inside or on the host.
func (c *Cheap) Log(inside bool) string {
	if inside {
		return c.Path("/var/log/messages")
	}
	return c.H.Path("/var/log/devlog/" + c.Name + "/messages")
}

// Hook runs devlog-hook for the container, inside or on the host.
func (c *Cheap) Hook(inside bool, args ...string) Result {
	c.H.T.Helper()
	return c.H.Do(c.HookArgs(inside, args...)...)
}

// HookArgs returns the command line of Hook, on the host.
func (c *Cheap) HookArgs(inside bool, args ...string) []string {
	if inside {
		return c.Args(append([]string{HookIn}, args...)...)
	}
	line := append([]string{filepath.Join(c.bin, "devlog-hook"), args[0], fmt.Sprintf("--pid=%d", c.PID)}, args[1:]...)
	if args[0] == "repair" {
		line = append(line, "--name", c.Name)
	}
	return line
}

// WaitDead waits until a process that was killed has closed its files.
func WaitDead(t *testing.T, h *Host, pid int) {
	t.Helper()
	Eventually(t, fmt.Sprintf("process %d is dead", pid), func() bool {
		return dead(h.Stat(pid))
	})
}

// dead returns whether a process with this status (Stat) has closed its files. In a container it may
// stay a zombie. Its first thread becomes one before the other threads, which field 20 counts, have
// closed the files.
func dead(f []string) bool { return f == nil || f[0] == "Z" && f[17] == "1" }

// ends returns whether a process of the host is ending: it has open files, but no command line.
func (h *Host) ends() bool {
	h.T.Helper()
	dirs, err := filepath.Glob(h.Path("/proc/[0-9]*"))
	Check(h.T, err)
	return slices.ContainsFunc(dirs, func(dir string) bool {
		line, err := os.ReadFile(dir + "/cmdline")
		pid, perr := strconv.Atoi(filepath.Base(dir))
		return err == nil && perr == nil && len(line) == 0 && !dead(h.Stat(pid))
	})
}

// WantSent sends a message in the container, and waits for it in a log file.
func (c *Cheap) WantSent(t *testing.T, log string, text string) {
	t.Helper()
	c.Sh("client t 13 " + text)
	WantOnce(t, log, text)
}

// Table returns the mount table of the host's process, one line for each mount,
// without the numbers that the kernel assigns.
func Table(t *testing.T, h *Host, pid int) []string {
	t.Helper()
	text, err := os.ReadFile(h.Path(fmt.Sprintf("/proc/%d/mountinfo", pid)))
	Check(t, err)
	var lines []string
	for line := range strings.Lines(string(text)) {
		// ID parent major:minor root mount-point options optional-fields - type source options
		lines = append(lines, strings.Join(strings.Fields(line)[2:], " "))
	}
	return lines
}
