package logfile

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"devlog/internal/output/outputtest"
	"devlog/internal/safepath"

	"golang.org/x/sys/unix"
)

// openRotating opens a real file in a new directory.
func openRotating(t *testing.T, r Rotation) (*File, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	f, err := openTestFile(path, Options{Notice: outputtest.Notice, Rotation: r})
	if err != nil {
		t.Fatal(err)
	}
	return f, path
}

// contents returns the contents of a directory's files, compressed ones unpacked.
func contents(t *testing.T, path string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		f, err := os.Open(filepath.Join(filepath.Dir(path), e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		var r io.Reader = f
		if strings.HasSuffix(e.Name(), gzipSuffix) {
			if r, err = gzip.NewReader(f); err != nil {
				t.Fatal(err)
			}
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(data)
		f.Close()
	}
	return files
}

func wantContents(t *testing.T, path string, want map[string]string) {
	t.Helper()
	if got := contents(t, path); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// finish waits until no file is being compressed.
func finish(t *testing.T, f *File) {
	t.Helper()
	for f.rotation.busy() {
		if f.Next().IsZero() {
			t.Fatal("would not look again")
		}
		err := <-f.rotation.job.done
		f.rotation.job.done <- err
		f.Flush(time.Now())
	}
}

func TestRotate(t *testing.T) {
	f, path := openRotating(t, Rotation{Size: 10, Count: 2})
	for i := range 10 { // three of three bytes fit
		f.Add(outputtest.Message(fmt.Sprintf("%02d", i)))
	}
	f.Flush(time.Now()) // one batch, several files
	wantContents(t, path, map[string]string{"log": "09\n", "log.0": "06\n07\n08\n", "log.1": "03\n04\n05\n"})
	f.Add(outputtest.Message("longer than a file may be"))
	f.Flush(time.Now())
	f.Add(outputtest.Message("x"))
	f.Flush(time.Now())
	wantContents(t, path, map[string]string{"log": "x\n", "log.0": "longer than a file may be\n", "log.1": "09\n"})
	outputtest.WantCounts(t, f, "12 0")
	f.Close()
}

// A file may be larger than 4 GiB on 32-bit machines.
func TestRotateLarge(t *testing.T) {
	for _, size := range []int64{1 << 30, 3 << 30, 4 << 30, 1 << 40} {
		f, _ := openRotating(t, Rotation{Size: size, Count: 1})
		if got := f.room(time.Now()); got < 1<<30 {
			t.Errorf("there is room for %d of %d bytes", got, size)
		}
		f.Close()
	}
}

func TestRotateKeepsNone(t *testing.T) {
	f, path := openRotating(t, Rotation{Size: 4})
	for _, text := range []string{"a", "b", "c"} {
		f.Add(outputtest.Message(text))
		f.Flush(time.Now())
	}
	wantContents(t, path, map[string]string{"log": "c\n"})
}

// A file that is too big at the start is rotated, and the new one has its mode.
func TestRotateAtStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("a lot of text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := openTestFile(path, Options{Notice: outputtest.Notice, Rotation: Rotation{Size: 10, Count: 1}})
	if err != nil {
		t.Fatal(err)
	}
	f.Add(outputtest.Message("x"))
	f.Flush(time.Now())
	wantContents(t, path, map[string]string{"log": "x\n", "log.0": "a lot of text\n"})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// Rotation keeps a link to a log file.
func TestRotateLink(t *testing.T) {
	f, path := openRotating(t, Rotation{Size: 2, Count: 1})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	f.Close()
	f, err := openTestFile(link, Options{Notice: outputtest.Notice, Rotation: Rotation{Size: 2, Count: 1}})
	if err != nil {
		t.Fatal(err)
	}
	f.Add(outputtest.Message("a"))
	f.Add(outputtest.Message("b"))
	f.Flush(time.Now())
	wantContents(t, path, map[string]string{"log": "b\n", "log.0": "a\n"})
	wantContents(t, link, map[string]string{"link": "b\n"})
}

// A rotation that fails is reported once, and loses neither an old file nor a message.
func TestRotateFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func(f *File, problem error)
		old  [2]string // names of the old files after failing
	}{
		{"rename", func(f *File, problem error) {
			f.rotation.rename = func(d safepath.Folder, from, to string) error {
				if problem != nil {
					return problem
				}
				return d.Rename(from, to)
			}
		}, [2]string{"log.0", "log.1"}},
		{"open", func(f *File, problem error) {
			f.open = func(p safepath.Place) (handle, error) {
				if problem != nil {
					return nil, problem
				}
				return openHandle(p)
			}
		}, [2]string{"log.1", "log.2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, path := openRotating(t, Rotation{Size: 2, Count: 3})
			now := time.Now()
			add := func(text string) {
				t.Helper()
				f.Add(outputtest.Message(text))
				f.Flush(now)
			}
			for _, text := range []string{"a", "b", "c"} {
				add(text)
			}
			tt.fail(f, unix.EROFS)
			for range 5 { // more often than there are old files
				now = now.Add(2 * rotateRetry)
				add("d")
			}
			notice := "NOTICE cannot rotate " + path + ": read-only file system; it keeps growing\n"
			wantContents(t, path, map[string]string{"log": "c\nd\n" + notice + "d\nd\nd\nd\n", tt.old[0]: "b\n", tt.old[1]: "a\n"})
			tt.fail(f, nil)
			now = now.Add(2 * rotateRetry)
			add("e")
			wantContents(t, path, map[string]string{"log": "e\n", "log.0": "c\nd\n" + notice + "d\nd\nd\nd\n", "log.1": "b\n", "log.2": "a\n"})
			outputtest.WantCounts(t, f, "9 0")
		})
	}
}

// After a full disk, the rotation that follows tears no line.
func TestRotateWhileFull(t *testing.T) {
	first, second := &fakeFile{room: 7}, &fakeFile{room: 100}
	files := []*fakeFile{first, second}
	f, err := openTestHandle("/f", Options{Notice: outputtest.Notice, Rotation: Rotation{Size: 8, Count: 1}}, func(safepath.Place) (handle, error) {
		next := files[0]
		files = files[1:]
		return next, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	f.rotation.rename = func(safepath.Folder, string, string) error { return nil }
	f.Add(outputtest.Message("aaaa"))
	f.Add(outputtest.Message("bb"))
	f.Flush(time.Now())
	f.Add(outputtest.Message("cc"))
	f.Flush(time.Now())
	if f.lines.Torn() != 2 {
		t.Fatalf("%d bytes of a torn line in %q", f.lines.Torn(), first.data)
	}
	first.room = 100
	f.Flush(f.Next())
	if string(first.data) != "aaaa\nbb\n" || string(second.data) != "cc\n" || !first.closed {
		t.Errorf("%q, then %q", first.data, second.data)
	}
}

// Two processes that write one file rotate it only once each time it is full.
func TestRotateTogether(t *testing.T) {
	r := Rotation{Size: 4, Count: 9}
	a, path := openRotating(t, r)
	b, err := openTestFile(path, Options{Notice: outputtest.Notice, Rotation: r})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for i := range 8 {
		f := []*File{a, b}[i%2]
		f.Add(outputtest.Message(fmt.Sprint(i)))
		f.Flush(now)
	}
	got := ""
	for _, text := range contents(t, path) {
		got += text
		if len(text) != 4 {
			t.Errorf("a file %q", text)
		}
	}
	lines := strings.Fields(got)
	if slices.Sort(lines); fmt.Sprint(lines) != "[0 1 2 3 4 5 6 7]" {
		t.Errorf("%q", lines)
	}
	h, err := openHandle(safepath.New(path, "")) // somebody who is just at it
	if err != nil || !h.Lock() {
		t.Fatal(err)
	}
	a.Add(outputtest.Message("aaaa"))
	a.Flush(now)
	outputtest.WantCounts(t, a, "5 0")
	if got := contents(t, path)["log"]; !strings.HasSuffix(got, "aaaa\n") || len(got) < 6 {
		t.Errorf("%q", got)
	}
}

func TestGzip(t *testing.T) {
	f, path := openRotating(t, Rotation{Size: 2, Count: 4, Gzip: true})
	for _, text := range []string{"a", "b", "c", "d", "e", "f"} {
		f.Add(outputtest.Message(text))
		f.Flush(time.Now())
	}
	finish(t, f)
	wantContents(t, path, map[string]string{"log": "f\n", "log.0": "e\n", "log.1.gz": "d\n", "log.2.gz": "c\n", "log.3.gz": "b\n"})
	if !f.Next().IsZero() {
		t.Error("wants to be woken up with nothing to do")
	}
	f.Close()
}

// What a crash left half done is completed at the start.
func TestGzipAfterCrash(t *testing.T) {
	f, path := openRotating(t, Rotation{})
	f.Close()
	for name, text := range map[string]string{".0": "0\n", ".1": "1\n", ".2": "2\n", ".gz.tmp": "half"} {
		if err := os.WriteFile(path+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := openTestFile(path, Options{Notice: outputtest.Notice, Rotation: Rotation{Size: 100, Count: 3, Gzip: true}})
	if err != nil {
		t.Fatal(err)
	}
	finish(t, f)
	if err := os.WriteFile(path+".2", []byte("2\n"), 0o600); err != nil { // before it was removed
		t.Fatal(err)
	}
	f.rotation.compress()
	finish(t, f)
	wantContents(t, path, map[string]string{"log": "", "log.0": "0\n", "log.1.gz": "1\n", "log.2.gz": "2\n"})
}

// Ending during a compression, another process that compresses, or a directory in the way
// leaves nothing half done.
func TestGzipFails(t *testing.T) {
	f, path := openRotating(t, Rotation{Size: 2, Count: 2, Gzip: true})
	temp := path + ".gz.tmp"
	dir, name, err := safepath.New(temp, "").Folder()
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	other, err := claim(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"a", "b", "c"} {
		f.Add(outputtest.Message(text))
		f.Flush(time.Now())
	}
	finish(t, f)
	wantContents(t, path, map[string]string{"log": "c\n", "log.0": "b\n", "log.1": "a\n", "log.gz.tmp": ""})
	if err := errors.Join(os.Remove(temp), other.Close(), os.Mkdir(temp, 0o700)); err != nil {
		t.Fatal(err)
	}
	f.rotation.Size = 1000
	f.rotation.compress()
	finish(t, f)
	if got := contents(t, path)["log"]; !strings.HasPrefix(got, "c\nNOTICE cannot compress "+path+".1: open ") {
		t.Errorf("%q", got)
	}
	if err := os.Remove(temp); err != nil {
		t.Fatal(err)
	}
	f.rotation.compress()
	f.Close()
	if got := contents(t, path); got["log.1"] != "a\n" || len(got) != 3 {
		t.Errorf("after an end in the middle: %q", got)
	}
}

// The file is reopened after others renamed, removed or emptied it.
func TestFollow(t *testing.T) {
	f, path := openRotating(t, Rotation{})
	now := time.Now()
	write := func(text string) {
		t.Helper()
		f.Add(outputtest.Message(text))
		f.Flush(now)
	}
	write("a")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("b") // not looked for at every write
	now = now.Add(2 * lookTime)
	write("c")
	wantContents(t, path, map[string]string{"log": "c\n", "log.1": "a\nb\n"})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write("d") // seen at once
	wantContents(t, path, map[string]string{"log": "d\n", "log.1": "a\nb\n"})
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	write("e") // where the file ends, not where it ended
	wantContents(t, path, map[string]string{"log": "e\n", "log.1": "a\nb\n"})
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	write("f")
	wantContents(t, path, map[string]string{"log": "f\n"})
	outputtest.WantCounts(t, f, "6 0")
}

// If the file cannot be reopened, the old one stays in use, and that is reported once.
func TestFollowFails(t *testing.T) {
	disk := &fakeFile{room: 1000, moved: true}
	f := newTestFile(t, disk)
	now := time.Now()
	for range 3 {
		now = now.Add(2 * lookTime)
		f.Add(outputtest.Message("a"))
		f.Flush(now)
	}
	if got := string(disk.data); got != "a\nNOTICE open: permission denied; writing to the old one\na\na\n" {
		t.Errorf("%q", got)
	}
}
