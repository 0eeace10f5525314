package receiver

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// NewReceiverAt starts a devlogd with these rules. Its socket is in dir.
func NewReceiverAt(t *testing.T, h *host.Host, dir string, rules ...string) *host.Receiver {
	t.Helper()
	args := []string{filepath.Join(host.BinDir, "devlogd"), "--listen", filepath.Join(dir, "log"), "--name", "box"}
	for _, rule := range rules {
		args = append(args, "--rule", rule)
	}
	r := &host.Receiver{T: t, Socket: h.Path(filepath.Join(dir, "log")), Done: make(chan struct{}), ErrOut: new(bytes.Buffer)}
	r.Cmd = h.Command(t.Context(), args...)
	r.Cmd.Stderr = r.ErrOut
	r.Run()
	return r
}

var (
	numbered = regexp.MustCompile(`^\w{3} [ \d]\d [\d:]{8} box s: message (\d+)\.x*$`)
	lostLine = regexp.MustCompile(`^\w{3} [ \d]\d [\d:]{8} box devlogd\[\d+\]: (\d+) messages lost \(disk full\)$`)
)

// tally is what a log file has of numbered messages.
type tally struct {
	seen map[int]int
	lost int
	told int // messages that were reported as lost
}

// read adds a file. Each of its lines must be whole.
func (c *tally) read(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	host.Check(t, err)
	if len(text) > 0 && text[len(text)-1] != '\n' {
		t.Errorf("%s ends in a torn line", file)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if m := numbered.FindStringSubmatch(line); m != nil {
			n, err := strconv.Atoi(m[1])
			host.Check(t, err)
			c.seen[n]++
		} else if m := lostLine.FindStringSubmatch(line); m != nil {
			n, err := strconv.Atoi(m[1])
			host.Check(t, err)
			c.lost += n
			c.told++
		} else {
			t.Errorf("%s: a line that nobody has sent: %.100q", file, line)
		}
	}
}

// want checks that each message is there once, or was reported as lost.
func (c *tally) want(t *testing.T, sent int) {
	t.Helper()
	for n, times := range c.seen {
		if times != 1 || n < 1 || n > sent {
			t.Errorf("message %d is there %d times", n, times)
		}
	}
	if len(c.seen)+c.lost != sent {
		t.Errorf("%d messages sent, %d written, %d told to be lost", sent, len(c.seen), c.lost)
	}
}

// sendNumbered has four senders send messages with the numbers from..to, each
// of about 1000 bytes. No send may be delayed or fail.
func sendNumbered(t *testing.T, r *host.Receiver, from, to int) {
	t.Helper()
	const senders = 4
	var group sync.WaitGroup
	failed := make(chan error, senders)
	timeout := unix.NsecToTimeval(int64(host.Deadline))
	for s := range senders {
		fd := r.Connect()
		host.Check(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout))
		group.Add(1)
		go func() {
			defer group.Done()
			for n := from + s; n <= to; n += senders {
				if err := host.Send(fd, fmt.Sprintf("<13>Jan  1 00:00:00 s: message %d.%s", n, strings.Repeat("x", 950))); err != nil {
					failed <- fmt.Errorf("send message %d: %w", n, err)
					return
				}
			}
		}()
	}
	group.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
}

// smallDisk mounts a file system of this size on the host.
func smallDisk(t *testing.T, h *host.Host, options string) string {
	t.Helper()
	h.Must("mkdir", "-p", "/run/disk")
	h.Must("mount", "-n", "-t", "tmpfs", "-o", options, "tmpfs", "/run/disk")
	return "/run/disk"
}

// With a full disk, no sender is delayed and no line is torn. At first nothing is lost. Once there is
// room, the file is written to at once, and the number of lost messages is in it.
func TestDiskFull(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	disk := smallDisk(t, h, "size=1m")
	log := disk + "/messages"
	r := NewReceiverAt(t, h, "/run", "*.* -"+log)
	filler := h.Path(disk + "/filler")
	host.Check(t, os.WriteFile(filler, make([]byte, 509<<10), 0o600)) // not a multiple of a line
	const kept = 1200                                                 // 500 kB in the file and 700 kB in memory
	sendNumbered(t, r, 1, kept)
	host.Check(t, os.Remove(filler))
	c := tally{seen: map[int]int{}}
	host.Eventually(t, "as much as fits is written", func() bool {
		info, err := os.Stat(h.Path(log))
		return err == nil && info.Size() == 1<<20
	})
	h.Must("mount", "-n", "-o", "remount,size=16m", disk)
	host.Eventually(t, "all that was kept is written", func() bool {
		text, err := os.ReadFile(h.Path(log))
		return err == nil && bytes.Count(text, []byte("\n")) == kept
	})
	c.read(t, h.Path(log))
	c.want(t, kept)
	if c.lost != 0 {
		t.Errorf("%d messages lost of what fits into memory", c.lost)
	}

	host.Check(t, os.WriteFile(filler, nil, 0o600))
	fill(t, filler)
	const sent = kept + 4000
	sendNumbered(t, r, kept+1, sent)
	host.Check(t, os.Remove(filler))
	host.Eventually(t, "what was lost is told", func() bool {
		text, err := os.ReadFile(h.Path(log))
		return err == nil && bytes.Contains(text, []byte(" messages lost (disk full)\n"))
	})
	r.EndOn(h)
	c = tally{seen: map[int]int{}}
	c.read(t, h.Path(log))
	c.want(t, sent)
	if c.lost == 0 || c.lost > 4000-900 || c.told != 1 {
		t.Errorf("%d messages lost, although 1 MiB is kept; said %d times", c.lost, c.told)
	}
}

// fill writes to a file until the disk is full.
func fill(t *testing.T, file string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	host.Check(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4<<10))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("fill the disk: %v", err)
	}
	host.Check(t, f.Close())
}

// If the disk stays full until the end, the file has whole lines only.
func TestDiskFullToTheEnd(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	disk := smallDisk(t, h, "size=64k")
	r := NewReceiverAt(t, h, "/run", "*.* -"+disk+"/messages")
	const sent = 200
	sendNumbered(t, r, 1, sent)
	r.EndOn(h)
	c := tally{seen: map[int]int{}}
	c.read(t, h.Path(disk+"/messages"))
	if n := len(c.seen); n < 60 || n > 67 {
		t.Errorf("%d messages of about 1000 bytes in 64 kB", n)
	}
}

// A file is rotated and compressed while senders write: each message is in one of the files, whole, and
// no file is too big.
func TestRotation(t *testing.T) {
	host.NeedContainers(t, "gzip")
	h := host.NewHost(t)
	h.Must("mkdir", "/run/rotated")
	r := NewReceiverAt(t, h, "/run", "*.* -/run/rotated/log;rotate=200k:99,gzip")
	const sent = 5000
	sendNumbered(t, r, 1, sent)
	dir := h.Path("/run/rotated")
	host.Eventually(t, "all old files but one are compressed", func() bool {
		plain, err := filepath.Glob(dir + "/log.*[0-9]")
		host.Check(t, err)
		packed, err := filepath.Glob(dir + "/log.*.gz")
		host.Check(t, err)
		return len(plain) == 1 && len(packed) >= 20
	})
	r.EndOn(h)
	packed, err := filepath.Glob(dir + "/*.gz")
	host.Check(t, err)
	host.Check(t, host.Command("gzip", append([]string{"-d"}, packed...)...))
	c := tally{seen: map[int]int{}}
	entries, err := os.ReadDir(dir)
	host.Check(t, err)
	for _, e := range entries {
		info, err := e.Info()
		host.Check(t, err)
		if info.Size() > 200<<10 {
			t.Errorf("%s has %d bytes", e.Name(), info.Size())
		}
		c.read(t, filepath.Join(dir, e.Name()))
	}
	c.want(t, sent)
	if c.lost != 0 {
		t.Errorf("%d lost", c.lost)
	}
}

// A disk gets full while files on it are rotated.
func TestRotationWhileFull(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	disk := smallDisk(t, h, "size=256k,nr_inodes=8")
	filler := h.Path(disk + "/filler")
	host.Check(t, os.WriteFile(filler, nil, 0o600))
	// FILE, FILE.0 to FILE.3, the filler and the directory: one inode less than needed.
	r := NewReceiverAt(t, h, "/run", "*.* -"+disk+"/log;rotate=40k:9")
	const sent = 1000
	sendNumbered(t, r, 1, 400)
	h.Must("mount", "-n", "-o", "remount,size=16m,nr_inodes=100", disk)
	sendNumbered(t, r, 401, sent)
	r.EndOn(h)
	files, err := filepath.Glob(h.Path(disk + "/log*"))
	host.Check(t, err)
	c := tally{seen: map[int]int{}}
	complaints := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		host.Check(t, err)
		lines := slices.Collect(strings.Lines(string(text)))
		lines = slices.DeleteFunc(lines, func(line string) bool {
			told := strings.HasSuffix(line, "no space left on device; it keeps growing\n")
			if told {
				complaints++
			}
			return told
		})
		host.Check(t, os.WriteFile(file, []byte(strings.Join(lines, "")), 0o600))
		c.read(t, file)
	}
	c.want(t, sent)
	if complaints > 1 {
		t.Errorf("said %d times that the file cannot be rotated", complaints)
	}
}

// logrotate's two ways, and a removed file, without any signal.
func TestFollowsItsFile(t *testing.T) {
	r := NewReceiver(t, t.TempDir())
	fd := r.Connect()
	sent := 0
	next := func() string {
		sent++
		text := fmt.Sprintf("message %d.", sent)
		host.Check(t, host.Send(fd, "<13>Jan  1 00:00:00 s: "+text))
		return text
	}
	// until sends until a message is in a file of that name.
	until := func(what string) {
		t.Helper()
		host.Eventually(t, what, func() bool {
			next()
			text, err := os.ReadFile(r.File)
			return err == nil && bytes.Contains(text, []byte(": message "))
		})
	}
	host.WantOnce(t, r.File, next())
	host.Check(t, os.Rename(r.File, r.File+".1"))
	until("a new file after a rename")
	copied, err := os.ReadFile(r.File)
	host.Check(t, err)
	host.Check(t, os.WriteFile(r.File+".2", copied, 0o600))
	host.Check(t, os.Truncate(r.File, 0))
	last := next()
	host.WantOnce(t, r.File, last)
	text, err := os.ReadFile(r.File)
	host.Check(t, err)
	if bytes.IndexByte(text, 0) >= 0 {
		t.Error("a hole is left where the file was")
	}
	host.Check(t, os.Remove(r.File))
	host.WantOnce(t, r.File, next()) // it is noticed before the next write
	host.Check(t, os.RemoveAll(r.File+".2"))
}

// A container with its own directory of logs mounted puts links and a device there. A receiver on the
// host does not write through them, and reports them.
func TestLogsOfContainerLeadNowhere(t *testing.T) {
	host.Need(t, "root")
	h := host.NewHost(t)
	const dir = "/var/log/devlog/c1"
	host.Check(t, os.MkdirAll(h.Path(dir), 0o755))
	host.Check(t, os.WriteFile(h.Path("/run/victim"), []byte("precious\n"), 0o600))
	host.Check(t, os.Symlink("/run/victim", h.Path(dir+"/other")))
	r := NewReceiverAt(t, h, "/run", "*.* -"+dir+"/messages")
	file := h.Path(dir + "/messages")
	fd := r.Connect()
	host.Check(t, host.Send(fd, "<13>Jan  1 00:00:00 t: before"))
	host.WantOnce(t, file, "before")
	host.Check(t, os.Rename(file, file+".old"))
	host.Check(t, os.Symlink("/run/victim", file))
	pid := h.Receivers()[0]
	h.Must("kill", "-HUP", strconv.Itoa(pid))
	host.Eventually(t, "it says that there is a link", func() bool {
		host.Check(t, host.Send(fd, "<13>Jan  1 00:00:00 t: after"))
		text, err := os.ReadFile(file + ".old")
		return err == nil && bytes.Contains(text, []byte(": after\n")) && bytes.Contains(text, []byte("no link is followed there"))
	})
	host.Check(t, os.Remove(file))
	host.Check(t, unix.Mknod(file, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	h.Must("kill", "-HUP", strconv.Itoa(pid))
	host.Check(t, host.Send(fd, "<13>Jan  1 00:00:00 t: last"))
	host.WantOnce(t, file+".old", "last")
	r.EndOn(h)
	if text, err := os.ReadFile(h.Path("/run/victim")); err != nil || string(text) != "precious\n" {
		t.Errorf("the file elsewhere: %q, %v", text, err)
	}

	again := NewReceiverAt(t, h, "/run", "*.* -"+dir+"/other")
	if code, errOut := again.Wait(); code != 4 || !strings.Contains(errOut, dir+"/other: it is not a regular file (no link is followed there)") {
		t.Errorf("a start at a link: exit code %d: %s", code, errOut)
	}
}
