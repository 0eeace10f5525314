package receiver

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// Disk is a file system that can be frozen: then every call that would change it hangs, and cannot be
// interrupted.
type Disk struct {
	t   *testing.T
	Dir string
}

// FIFREEZE and FITHAW are of linux/fs.h.
const fiFreeze, fiThaw = 0xc0045877, 0xc0045878

func newDisk(t *testing.T) *Disk {
	t.Helper()
	host.Need(t, "root", "mkfs.ext4", "fsfreeze")
	image := filepath.Join(t.TempDir(), "image")
	host.Check(t, os.WriteFile(image, nil, 0o600))
	host.Check(t, os.Truncate(image, 16<<20))
	d := &Disk{t, t.TempDir()}
	for _, args := range [][]string{{"mkfs.ext4", "-q", image}, {"mount", "-o", "loop", image, d.Dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%v: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() {
		d.thaw()
		host.Eventually(t, "the disk is unmounted", func() bool { return unix.Unmount(d.Dir, 0) == nil })
	})
	return d
}

// Freeze freezes the disk until Thaw, or until the test ends in any way: a process that waits for a
// frozen disk cannot be killed.
func (d *Disk) Freeze() {
	d.t.Helper()
	guard := exec.Command("sh", "-c", "cat; fsfreeze --unfreeze "+d.Dir)
	guard.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	alive, err := guard.StdinPipe()
	host.Check(d.t, err)
	host.Check(d.t, guard.Start())
	d.t.Cleanup(func() {
		d.thaw()
		host.Check(d.t, alive.Close())
		_ = guard.Wait() // it fails on a disk that is not frozen
	})
	host.Check(d.t, d.ioctl(fiFreeze))
}

// Thaw undoes Freeze.
func (d *Disk) Thaw() {
	d.t.Helper()
	host.Check(d.t, d.ioctl(fiThaw))
}

func (d *Disk) thaw() { _ = d.ioctl(fiThaw) } // usually it is not frozen

func (d *Disk) ioctl(request uint) error {
	fd, err := unix.Open(d.Dir, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.IoctlSetInt(fd, request, 0)
}

// Path is a file on the disk.
func (d *Disk) Path(name string) string { return filepath.Join(d.Dir, name) }

// wantLine waits for one line with the text, in a file that is too long to be shown.
func wantLine(t *testing.T, file, text string) {
	t.Helper()
	if !host.WaitFor(func() bool { return len(linesOf(file, text)) == 1 }) {
		t.Fatalf("%s has %d lines with %q", file, len(linesOf(file, text)), text)
	}
}

// within fails if it takes longer.
func within(t *testing.T, limit time.Duration, what string, f func()) {
	t.Helper()
	begin := time.Now()
	f()
	if took := time.Since(begin); took > limit {
		t.Errorf("%s took %v, and may take %v", what, took, limit)
	}
}

// hangTime is the longest delay that a hanging file system may cause elsewhere, on a busy machine.
const hangTime = 5 * time.Second

// outputCount returns the output's count in the account.
func outputCount(t *testing.T, account, output, what string) int {
	t.Helper()
	_, rest, ok := strings.Cut(account, "; "+output+": ")
	if !ok {
		t.Fatalf("nothing about %s in %q", output, account)
	}
	rest, _, _ = strings.Cut(rest, ";")
	_, rest, ok = strings.Cut(", "+rest, ", "+what+" ")
	if !ok {
		return 0
	}
	number, _, _ := strings.Cut(strings.Fields(rest)[0], ",")
	n, err := strconv.Atoi(number)
	host.Check(t, err)
	return n
}

// A file system that hangs delays neither senders nor other outputs. When it answers, what was
// sent meanwhile is in the file, or counted as lost.
func TestHungFile(t *testing.T) {
	disk, dir := newDisk(t), t.TempDir()
	hung, good := disk.Path("hung"), filepath.Join(dir, "good")
	program := filepath.Join(dir, "devlogd")
	if out, err := exec.Command("cp", filepath.Join(host.BinDir, "devlogd"), program).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	config := filepath.Join(dir, "rules")
	host.Check(t, os.WriteFile(config, []byte("*.* -"+hung+";rotate=64M:3\n*.* -"+good+"\n"), 0o600))
	r := host.RunCommand(t, filepath.Join(dir, "log"), exec.Command(program, "--listen", filepath.Join(dir, "log"), "--config", config))
	fd := r.Connect()
	sent := 0
	message := func(more string) string {
		sent++
		return fmt.Sprintf("message %d.%s", sent, more)
	}
	say := func(more string) string {
		m := message(more)
		host.Check(t, host.Send(fd, "<13>Jan  1 00:00:00 t: "+m))
		return m
	}
	first := say("")
	wantLine(t, hung, first)
	wantLine(t, good, first)

	disk.Freeze()
	within(t, hangTime, "the first message for a file system that hangs", func() { wantLine(t, good, say("")) })
	for range 3 {
		within(t, time.Second, "a message beside a file system that hangs", func() { wantLine(t, good, say("")) })
	}
	wantLine(t, good, "cannot write to "+hung+": file system does not answer; trying again, what is lost is counted")

	// More than the receiver buffers.
	memory := residentMemory(t, r.Cmd.Process.Pid)
	for range 4096 {
		say(strings.Repeat("x", 1000))
	}
	if last := say(""); !host.WaitFor(func() bool { return len(linesOf(good, last)) > 0 }) {
		t.Fatalf("%q is not in %s", last, good)
	}
	if more := residentMemory(t, r.Cmd.Process.Pid) - memory; more > 8<<20 {
		t.Errorf("%d bytes of memory more", more)
	}
	r.Signal(syscall.SIGUSR1)
	account := lineOf(t, good, "received ")
	if n := outputCount(t, account, hung, "lost"); n == 0 || !strings.Contains(account, "(file system does not answer)") {
		t.Errorf("%d lost: %s", n, account)
	}

	// A signal's work is done or refused, without waiting.
	r.Signal(syscall.SIGUSR2)
	within(t, hangTime, "refusing an upgrade", func() {
		wantLine(t, good, "the file system of "+hung+" does not answer; hint: try again when it does")
	})
	host.Check(t, os.WriteFile(config, []byte("*.* -"+hung+";rotate=32M:3\n*.* -"+good+"\n"), 0o600))
	r.Signal(syscall.SIGHUP)
	within(t, hangTime, "reading the rules again", func() { wantLine(t, good, "read the rules again: 2") })
	within(t, time.Second, "a message after that", func() { wantLine(t, good, say("")) })

	disk.Thaw()
	wantLine(t, hung, first)
	host.Eventually(t, "the file tells of the loss", func() bool {
		text, err := os.ReadFile(hung)
		return err == nil && bytes.Contains(text, []byte(" messages lost (file system does not answer)\n"))
	})
	wantLine(t, hung, say(""))
	r.Signal(syscall.SIGUSR1)
	host.Eventually(t, "the account", func() bool { return len(linesOf(good, "received ")) == 2 })
	account = linesOf(good, "received ")[1]
	text, err := os.ReadFile(hung)
	host.Check(t, err)
	lines := bytes.Count(text, []byte("\n")) - bytes.Count(text, []byte(" messages lost ("))
	if written := outputCount(t, account, hung, "written"); written != lines && written != lines-1 { // one may be the account's own message
		t.Errorf("%d lines in the file, %d counted", lines, written)
	}
	if all, n := outputCount(t, account, good, "written"), outputCount(t, account, hung, "written")+outputCount(t, account, hung, "pending")+outputCount(t, account, hung, "lost"); n != all && n != all+1 {
		t.Errorf("%d of %d messages are counted: %s", n, all, account)
	}
	for i := range sent {
		if n := bytes.Count(text, fmt.Appendf(nil, ": message %d.", i+1)); n > 1 {
			t.Errorf("message %d is there %d times", i+1, n)
		}
	}
	r.Signal(syscall.SIGUSR2)
	wantLine(t, good, "upgraded to devlogd ")
	wantLine(t, hung, say(""))
	r.Signal(syscall.SIGTERM)
	if code, errOut := r.Wait(); code != 0 || errOut != "" {
		t.Errorf("exit code %d, %q", code, errOut)
	}
}

// residentMemory returns a process's private memory, in bytes.
func residentMemory(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	host.Check(t, err)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			host.Check(t, err)
			return n << 10
		}
	}
	t.Fatal("no RssAnon")
	return 0
}

// linesOf returns the lines of a file with this text.
func linesOf(file, text string) (found []string) {
	data, _ := os.ReadFile(file) // a missing file counts as empty
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// lineOf waits for the line.
func lineOf(t *testing.T, file, text string) (line string) {
	t.Helper()
	host.Eventually(t, text, func() bool {
		found := linesOf(file, text)
		if len(found) > 0 {
			line = found[0]
		}
		return len(found) > 0
	})
	return line
}

// A receiver that is ended while a file system hangs has soon written everything else,
// and leaves its socket to the next.
func TestHungFileEnd(t *testing.T) {
	disk, dir := newDisk(t), t.TempDir()
	hung, good, socket := disk.Path("hung"), filepath.Join(dir, "good"), filepath.Join(dir, "log")
	r := host.RunReceiver(t, socket, "--listen", socket, "--rule", "*.* "+hung, "--rule", "*.* -"+good, "--metrics-file", disk.Path("metrics"))
	fd := r.Connect()
	host.Check(t, host.Send(fd, "<13>Jan  1 00:00:00 t: first"))
	host.WantOnce(t, hung, "first")
	disk.Freeze()
	host.Check(t, host.Send(fd, "<13>Jan  1 00:00:00 t: second"))
	host.WantOnce(t, good, "second")
	host.Check(t, host.Send(fd, "<13>Jan  1 00:00:00 t: third"))
	r.Signal(syscall.SIGTERM)
	within(t, 5*time.Second+hangTime, "the end", func() {
		host.Eventually(t, "the socket has gone", func() bool {
			_, err := os.Lstat(socket)
			return os.IsNotExist(err)
		})
	})
	host.WantOnce(t, good, "third")
	next := host.RunReceiver(t, socket, "--listen", socket, "--rule", "*.* -"+good)
	host.Check(t, host.Send(next.Connect(), "<13>Jan  1 00:00:00 t: fourth"))
	host.WantOnce(t, good, "fourth")
	disk.Thaw()
	code, errOut := r.Wait()
	if want := " messages lost at the end: " + hung + ": file system does not answer\n"; code != 0 || !strings.Contains(errOut, want) {
		t.Errorf("exit code %d, %q lacks %q", code, errOut, want)
	}
}

// A receiver that cannot open a file because the file system hangs soon reports that.
func TestHungFileStart(t *testing.T) {
	disk, dir := newDisk(t), t.TempDir()
	socket := filepath.Join(dir, "log")
	host.Check(t, os.Symlink("new", disk.Path("hung"))) // the start creates a link's target
	disk.Freeze()
	errOut := filepath.Join(dir, "stderr")
	out, err := os.Create(errOut)
	host.Check(t, err)
	defer out.Close()
	cmd := exec.Command(filepath.Join(host.BinDir, "devlogd"), "--listen", socket, "--rule", "*.* "+disk.Path("hung"))
	cmd.Stderr = out
	host.Check(t, cmd.Start())
	within(t, hangTime, "refusing to start", func() {
		host.WantOnce(t, errOut, "cannot open the log file "+disk.Path("hung")+": file system does not answer")
	})
	disk.Thaw()
	host.Check(t, func() error { _, err := cmd.Process.Wait(); return err }())
}

// A receiver whose first message cannot create a file because the file system hangs reports that, and
// writes to the other files.
func TestHungFileFirst(t *testing.T) {
	disk, dir := newDisk(t), t.TempDir()
	socket, hung, good := filepath.Join(dir, "log"), disk.Path("hung"), filepath.Join(dir, "good")
	disk.Freeze()
	defer disk.thaw() // the receiver cannot be ended before
	r := host.RunReceiver(t, socket, "--listen", socket, "--rule", "*.* -"+hung, "--rule", "*.* -"+good)
	fd := r.Connect()
	host.Check(t, host.Send(fd, "<13>Jan  1 00:00:00 t: first"))
	within(t, hangTime, "the report", func() {
		host.WantOnce(t, good, "first", "cannot write to "+hung+": file system does not answer; trying again, what is lost is counted")
	})
	disk.Thaw()
	host.WantOnce(t, hung, "first")
	r.Signal(syscall.SIGTERM)
	if code, errOut := r.Wait(); code != 0 {
		t.Errorf("exit code %d, %s", code, errOut)
	}
}
