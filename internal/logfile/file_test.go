package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devlog/internal/output"
	"devlog/internal/output/outputtest"
	"devlog/internal/safepath"

	"golang.org/x/sys/unix"
)

// fakeFile is a file on a disk with this much room.
type fakeFile struct {
	data                   []byte
	room                   int
	writes                 int
	syncs                  int
	closed                 bool
	syncErr                error
	moved, removed, locked bool
}

func (f *fakeFile) Write(p []byte) (int, error) {
	f.writes++
	n := min(f.room, len(p))
	f.room -= n
	f.data = append(f.data, p[:n]...)
	if n == 0 && len(p) > 0 {
		return -1, unix.ENOSPC // as unix.Write returns it
	}
	return n, nil
}

func (f *fakeFile) Sync() error            { f.syncs++; return f.syncErr }
func (f *fakeFile) Close() error           { f.closed = true; return nil }
func (f *fakeFile) Empty() error           { f.data = nil; return nil }
func (f *fakeFile) Lock() bool             { return !f.locked }
func (f *fakeFile) Unlock()                {}
func (f *fakeFile) Like(handle)            {}
func (f *fakeFile) Is(safepath.Place) bool { return !f.moved }
func (f *fakeFile) Size() (int64, bool)    { return int64(len(f.data)), !f.removed }
func (f *fakeFile) Ended() bool            { return len(f.data) == 0 || f.data[len(f.data)-1] == '\n' }
func (f *fakeFile) Retract(n int) bool {
	f.data = f.data[:len(f.data)-n]
	f.room += n
	return true
}

// openTestFile opens a File without a guard.
func openTestFile(path string, o Options) (*File, error) {
	return openTestHandle(path, o, openHandle)
}

// openTestHandle is openTestFile with another way to open the file.
func openTestHandle(path string, o Options, open func(safepath.Place) (handle, error)) (*File, error) {
	f := newFile(path, o, open)
	return f, f.start()
}

func newTestFile[H handle](t *testing.T, files ...H) *File {
	t.Helper()
	f, err := openTestHandle("/f", Options{Notice: outputtest.Notice}, func(safepath.Place) (handle, error) {
		if len(files) == 0 {
			return nil, fmt.Errorf("open: %w", unix.EACCES)
		}
		next := files[0]
		files = files[1:]
		return next, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFileBatches(t *testing.T) {
	disk := &fakeFile{room: 1000}
	f := newTestFile(t, disk)
	now := time.Now()
	for i := range 5 {
		f.Add(outputtest.Message(fmt.Sprint(i)))
	}
	f.Flush(now)
	f.Flush(now)
	if got := string(disk.data); got != "0\n1\n2\n3\n4\n" || disk.writes != 1 || disk.syncs != 0 {
		t.Errorf("%q with %d writes, %d syncs", got, disk.writes, disk.syncs)
	}
	m := outputtest.Message("5")
	m.Sync = true
	f.Add(m)
	f.Add(outputtest.Message("6"))
	f.Flush(now)
	if disk.writes != 2 || disk.syncs != 1 {
		t.Errorf("%d writes, %d syncs", disk.writes, disk.syncs)
	}
	if !f.Next().IsZero() {
		t.Error("wants to be woken up with nothing to do")
	}
	outputtest.WantCounts(t, f, "7 0")
	f.Close()
	if !disk.closed {
		t.Error("not closed")
	}
}

func TestFileNoAllocation(t *testing.T) {
	disk := &fakeFile{room: 1 << 30, data: make([]byte, 0, 1<<20)}
	f := newTestFile(t, disk)
	m := outputtest.Message("hello")
	now := time.Now()
	if n := testing.AllocsPerRun(1000, func() { f.Add(m); f.Flush(now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestFileDiskFull(t *testing.T) {
	disk := &fakeFile{room: 6}
	f := newTestFile(t, disk)
	now := time.Now()
	f.Add(outputtest.Message("aaa"))
	f.Add(outputtest.Message("bbb"))
	f.Flush(now)
	if string(disk.data) != "aaa\nbb" {
		t.Fatalf("%q", disk.data)
	}
	outputtest.WantCounts(t, f, "1 1")
	next := f.Next()
	if !next.After(now) || next.Sub(now) > time.Second {
		t.Errorf("tries again after %v", next.Sub(now))
	}
	writes := disk.writes
	f.Add(outputtest.Message("ccc"))
	f.Flush(now)
	if disk.writes != writes {
		t.Error("tries again at once")
	}
	disk.room = 1000
	f.Flush(next)
	if string(disk.data) != "aaa\nbbb\nccc\n" || !f.Next().IsZero() {
		t.Errorf("%q, next %v", disk.data, f.Next())
	}
	outputtest.WantCounts(t, f, "3 0")
}

func TestFileLost(t *testing.T) {
	disk := &fakeFile{}
	f := newTestFile(t, disk)
	now := time.Now()
	m := outputtest.Message(strings.Repeat("x", 1023))
	const sent = 1500
	for range sent {
		f.Add(m)
		f.Flush(now)
	}
	outputtest.WantCounts(t, f, "0 1024 disk full=476")
	if n := f.Counts().Untold; n != 476 {
		t.Errorf("%d lost that the file does not tell of", n)
	}
	for i := range 10 { // the delay grows to a second
		now = f.Next()
		f.Flush(now)
		if d := f.Next().Sub(now); d <= 0 || d > time.Second {
			t.Errorf("attempt %d: %v", i, d)
		}
	}
	disk.room = 1<<20 + 10 // the notice does not fit
	now = f.Next()
	f.Flush(now)
	outputtest.WantCounts(t, f, "1024 0 disk full=476")
	if n := f.Counts().Untold; n != 476 {
		t.Errorf("%d lost that the file does not tell of, while the notice waits", n)
	}
	f.Add(outputtest.Message("after"))
	disk.room = 1000
	f.Flush(f.Next())
	if want := "x\nNOTICE 476 messages lost (disk full)\nafter\n"; !bytes.HasSuffix(disk.data, []byte(want)) {
		t.Errorf("ends in %q", disk.data[len(disk.data)-100:])
	}
	outputtest.WantCounts(t, f, "1025 0 disk full=476")
	if n := f.Counts().Untold; n != 0 {
		t.Errorf("%d lost that the file does not tell of", n)
	}
}

func TestFileHugeMessage(t *testing.T) {
	disk := &fakeFile{}
	f := newTestFile(t, disk)
	now := time.Now()
	huge := outputtest.Message(strings.Repeat("x", 3*maxPending/2))
	f.Add(huge) // alone it is kept, whatever its size
	f.Flush(now)
	f.Add(outputtest.Message("y"))
	outputtest.WantCounts(t, f, "0 1 disk full=1")
	disk.room = 10 * maxPending
	f.Flush(f.Next())
	f.Flush(now)
	outputtest.WantCounts(t, f, "1 0 disk full=1")
	if f.lines.Capacity() > 2*output.BatchSize {
		t.Errorf("keeps %d bytes", f.lines.Capacity())
	}
}

func TestFileCloseWhileFull(t *testing.T) {
	disk := &fakeFile{room: 6}
	f := newTestFile(t, disk)
	f.Add(outputtest.Message("aaa"))
	f.Add(outputtest.Message("bbb"))
	f.Flush(time.Now())
	f.Close()
	if string(disk.data) != "aaa\n" {
		t.Errorf("a torn line is left: %q", disk.data)
	}
	outputtest.WantCounts(t, f, "1 0 disk full=1")
}

func TestFileReopen(t *testing.T) {
	full, next := &fakeFile{room: 6}, &fakeFile{room: 1000}
	f := newTestFile(t, full, next)
	now := time.Now()
	f.Add(outputtest.Message("aaa"))
	f.Add(outputtest.Message("bbb"))
	f.Reopen(now)
	if string(full.data) != "aaa\n" || string(next.data) != "bbb\n" || !full.closed {
		t.Errorf("old %q, new %q", full.data, next.data)
	}
	f.Reopen(now) // there is no third
	f.Add(outputtest.Message("ccc"))
	f.Flush(now)
	if got := string(next.data); !strings.HasPrefix(got, "bbb\nNOTICE open: permission denied") || !strings.HasSuffix(got, "\nccc\n") {
		t.Errorf("%q", got)
	}
	outputtest.WantCounts(t, f, "3 0")
}

func TestFileSyncFails(t *testing.T) {
	disk := &fakeFile{room: 1000, syncErr: unix.EIO}
	f := newTestFile(t, disk)
	m := outputtest.Message("a")
	m.Sync = true
	for range 2 {
		f.Add(m)
		f.Flush(time.Now())
	}
	if got := string(disk.data); strings.Count(got, "NOTICE cannot sync /f: input/output error") != 1 || strings.Count(got, "a\n") != 2 {
		t.Errorf("%q", got)
	}
	outputtest.WantCounts(t, f, "2 0")
}

func TestFileOpenedLater(t *testing.T) {
	disk := &fakeFile{room: 1000}
	problem := error(unix.ENOSPC)
	f, err := openTestHandle("/f", Options{Notice: outputtest.Notice}, func(safepath.Place) (handle, error) { return disk, problem })
	if err != nil {
		t.Fatal(err)
	}
	f.Add(outputtest.Message("a"))
	f.Flush(f.Next())
	outputtest.WantCounts(t, f, "0 1")
	problem = nil
	f.Flush(f.Next())
	outputtest.WantCounts(t, f, "1 0")
}

func TestOpenFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b", "messages")
	f, err := openTestFile(path, Options{Notice: outputtest.Notice})
	if err != nil {
		t.Fatal(err)
	}
	f.Add(outputtest.Message("a"))
	f.Flush(time.Now())
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	f.Reopen(time.Now())
	f.Add(outputtest.Message("b"))
	f.Flush(time.Now())
	f.Close()
	for p, want := range map[string]string{path + ".1": "a\n", path: "b\n"} {
		if got, err := os.ReadFile(p); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", p, got, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&^0o640 != 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestOpenFileRefuses(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		fifo:        "is not a regular file",
		"/dev/null": "is not a regular file",
		dir:         "is a directory",
		file + "/x": "not a directory",
	} {
		_, err := openTestFile(path, Options{Notice: outputtest.Notice})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want %s", path, err, want)
		}
	}
}

func TestRetract(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	h, err := openHandle(safepath.New(path, ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Write([]byte("aaa\nbb")); err != nil {
		t.Fatal(err)
	}
	if !h.Retract(2) {
		t.Error("not retracted")
	}
	if _, err := h.Write([]byte("c")); err != nil {
		t.Fatal(err)
	}
	other, err := openHandle(safepath.New(path, ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Write([]byte("o")); err != nil {
		t.Fatal(err)
	}
	if h.Retract(1) {
		t.Error("took back what another has written")
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "aaa\nco" {
		t.Errorf("%q, %v", got, err)
	}
	if err := errors.Join(h.Close(), other.Close()); err != nil {
		t.Error(err)
	}
}

// Messages in a file that is closed without a flush are counted too.
func TestCloseUnflushed(t *testing.T) {
	f := newTestFile(t, &fakeFile{room: 100})
	f.Add(outputtest.Message("a"))
	f.Close()
	if c := f.Counts(); c.Written != 0 || c.Pending != 0 || len(c.Lost) != 1 || c.Lost[0].N != 1 {
		t.Errorf("%+v", c)
	}
}
