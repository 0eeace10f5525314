package sink

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"devlog/internal/output/outputtest"

	"golang.org/x/sys/unix"
)

// fakeKernel is a kernel's log that limits as the kernel does.
type fakeKernel struct {
	now     time.Time
	begin   time.Time
	n       int
	records []string
	dropped int
	err     error
}

func (k *fakeKernel) Write(p []byte) (int, error) {
	if k.err != nil {
		return -1, k.err
	}
	if len(p) >= 1024 {
		return -1, unix.EINVAL
	}
	k.now = k.now.Add(time.Millisecond)
	if k.begin.IsZero() || k.now.Sub(k.begin) > kernelInterval {
		k.begin, k.n = k.now, 0
	}
	k.n++
	if k.n > kernelBurst {
		k.dropped++ // accepted, and gone
	} else {
		text, whole := strings.CutSuffix(string(p), "\n")
		if !whole {
			text += " (not shown yet)"
		}
		k.records = append(k.records, text)
	}
	return len(p), nil
}

func (k *fakeKernel) Close() error { k.n = 0; return nil }

func newTestKernel(t *testing.T) (*Kernel, *fakeKernel) {
	t.Helper()
	log := &fakeKernel{now: time.Unix(1000, 0)}
	k, err := newKernel("/dev/kmsg", "box", func() time.Time { return log.now }, func() (io.WriteCloser, error) { return log, nil })
	if err != nil {
		t.Fatal(err)
	}
	return k, log
}

func TestKernelRecord(t *testing.T) {
	k, log := newTestKernel(t)
	m := outputtest.Message("app[1]: hi")
	m.Priority = 10
	k.Add(m)
	if len(log.records) != 1 || log.records[0] != "<10>box: app[1]: hi" {
		t.Errorf("%q", log.records)
	}
	outputtest.WantCounts(t, k, "1 0")
	if !k.Next().IsZero() {
		t.Error("wants to be woken up with nothing to do")
	}
}

func TestKernelBudget(t *testing.T) {
	k, log := newTestKernel(t)
	for i := range 50 {
		k.Add(outputtest.Message(fmt.Sprint(i)))
	}
	outputtest.WantCounts(t, k, "10 0 kernel log rate limit=40")
	log.now = k.Next()
	k.Flush(log.now)
	if got := log.records[len(log.records)-1]; got != "<44>box: devlogd: 40 messages withheld (kernel log rate limit)" {
		t.Errorf("%q", got)
	}
	if !k.Next().IsZero() {
		t.Error("wants to be woken up although all is said")
	}
	for i := range 20 {
		k.Add(outputtest.Message(fmt.Sprint(i)))
	}
	outputtest.WantCounts(t, k, "19 0 kernel log rate limit=51")
	k.Close()
	if got := log.records[len(log.records)-1]; !strings.Contains(got, "11 messages withheld") {
		t.Errorf("at the end: %q", got)
	}
	if log.dropped != 0 {
		t.Errorf("the kernel dropped %d records", log.dropped)
	}
}

// The kernel drops nothing, however fast messages come.
func TestKernelPace(t *testing.T) {
	for step := 10 * time.Millisecond; step < 2*time.Second; step += 90 * time.Millisecond {
		k, log := newTestKernel(t)
		for range 300 {
			log.now = log.now.Add(step)
			k.Add(outputtest.Message("x"))
			k.Flush(log.now)
		}
		if log.dropped != 0 {
			t.Errorf("every %v: the kernel dropped %d records", step, log.dropped)
		}
	}
}

func TestKernelSplits(t *testing.T) {
	k, log := newTestKernel(t)
	text := strings.Repeat("0123456789é", 200)
	k.Add(outputtest.Message(text))
	joined := ""
	for i, r := range log.records {
		if len(r) >= 1024 || !utf8.ValidString(r) {
			t.Errorf("record of %d bytes: %q", len(r), r)
		}
		r = strings.TrimPrefix(r, "<0>box: ")
		if i > 0 {
			r = strings.TrimPrefix(r, "...")
		}
		if i < len(log.records)-1 {
			r = strings.TrimSuffix(r, "...")
		}
		joined += r
	}
	if joined != text || len(log.records) != 3 {
		t.Errorf("%d records: %q", len(log.records), joined)
	}
	k.Add(outputtest.Message(strings.Repeat("x", 64<<10)))
	if last := log.records[len(log.records)-1]; len(log.records) != 3+maxRecords || !strings.HasSuffix(last, "x [cut]") {
		t.Errorf("%d records, the last %q", len(log.records), last)
	}
	k.Add(outputtest.Message(strings.Repeat("x", 64<<10)))
	outputtest.WantCounts(t, k, "2 0 kernel log rate limit=1")
}

func TestKernelErrors(t *testing.T) {
	k, log := newTestKernel(t)
	log.err = unix.EIO
	k.Add(outputtest.Message("x"))
	outputtest.WantCounts(t, k, "0 0 input/output error=1")

	k, err := newKernel("/dev/kmsg", "box", time.Now, func() (io.WriteCloser, error) { return nil, unix.EPERM })
	if !errors.Is(err, unix.EPERM) {
		t.Fatal(err)
	}
	k.Add(outputtest.Message("x"))
	k.Flush(time.Now())
	k.Reopen(time.Now())
	k.Close()
	outputtest.WantCounts(t, k, "0 0 kernel log not available=1")
}

func TestOpenKernel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kmsg")
	if _, err := OpenKernel(path, "x", -1); !errors.Is(err, unix.ENOENT) && !errors.Is(err, ErrKernelOff) {
		t.Errorf("%v", err)
	}
}

// An open log is used without its path, and stays open.
func TestOpenKernelHeld(t *testing.T) {
	held, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	defer other.Close()
	for range 2 {
		k, err := OpenKernel("/nowhere", "x", int(other.Fd()))
		if errors.Is(err, ErrKernelOff) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		k.Add(outputtest.Message("a"))
		k.Close()
		got := make([]byte, 100)
		if n, err := held.Read(got); err != nil || !strings.HasSuffix(string(got[:n]), "x: a\n") {
			t.Errorf("%q, %v", got[:n], err)
		}
	}
}

// What a container's root has put in place of the kernel's log in a shared /dev is not even
// opened.
func TestOpenKernelHostile(t *testing.T) {
	dir := t.TempDir()
	link, fifo, file := filepath.Join(dir, "link"), filepath.Join(dir, "fifo"), filepath.Join(dir, "file")
	if err := errors.Join(os.Symlink("/dev/null", link), unix.Mkfifo(fifo, 0o600), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	reader := openReader(t, fifo)
	for _, path := range []string{link, fifo, file, "/dev/null"} {
		k, err := OpenKernel(path, "x", -1)
		if err == nil || !strings.Contains(err.Error(), "not the kernel's log") && !errors.Is(err, ErrKernelOff) {
			t.Errorf("%s: %v", path, err)
		}
		k.Add(outputtest.Message("a"))
		outputtest.WantCounts(t, k, "0 0 kernel log not available=1")
		k.Close()
	}
	if got := readAll(reader); got != "" {
		t.Errorf("in the FIFO: %q", got)
	}
}
