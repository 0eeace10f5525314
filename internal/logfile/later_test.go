package logfile

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
	"time"

	"devlog/internal/output/outputtest"
	"devlog/internal/safepath"
	"devlog/internal/watchdog"
)

func openLater(path, below string, problem func(error)) (*Guarded, error) {
	return OpenGuarded(path, Options{Notice: outputtest.Notice, Below: below, Later: true}, GuardOptions{Watchdog: watchdog.New(func() {}, func() {}), Problem: problem})
}

// The first message creates the file. Its directory is there from the start.
func TestLater(t *testing.T) {
	for _, below := range []bool{false, true} {
		dir := t.TempDir()
		path, logs := filepath.Join(dir, "c1/messages"), ""
		if below {
			logs = dir
		}
		g, err := openLater(path, logs, func(err error) { t.Error(err) })
		outputtest.Must(t, err)
		g.Flush(time.Now())
		g.Reopen(time.Now())
		if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) > 0 {
			t.Errorf("before the first message: %v, %v", names, err)
		}
		g.Add(outputtest.Message("a"))
		g.Flush(time.Now())
		if text, err := os.ReadFile(path); err != nil || string(text) != "a\n" {
			t.Errorf("%q, %v", text, err)
		}
		outputtest.Must(t, os.Rename(path, path+".old"))
		g.Reopen(time.Now()) // as after logrotate(8)
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
		g.Close()
	}
}

// Where a file cannot be created with the first message, the start says so.
func TestLaterFailsNow(t *testing.T) {
	dir := t.TempDir()
	outputtest.Must(t, os.Symlink("nowhere/m", dir+"/dangling"), os.WriteFile(dir+"/file", nil, 0o600), os.Mkdir(dir+"/m", 0o700))
	for _, path := range []string{"/dev/devlog-no-such-device", dir + "/dangling", dir + "/file/m", dir + "/m"} {
		if g, err := openLater(path, "", nil); err == nil {
			t.Errorf("%s: no error", path)
			g.Close()
		}
	}
}

// A link may lead to where only the start can create a file.
func TestLaterLink(t *testing.T) {
	dir := t.TempDir()
	outputtest.Must(t, os.Symlink("m", dir+"/link"))
	g, err := openLater(dir+"/link", "", nil)
	outputtest.Must(t, err)
	defer g.Close()
	if _, err := os.Stat(dir + "/m"); err != nil {
		t.Error(err)
	}
}

// The first message finds that its file cannot be created any more: that is reported once, and
// the message waits.
func TestLaterFailsThen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c1/messages")
	var said []error
	g, err := openLater(path, "", func(err error) { said = append(said, err) })
	outputtest.Must(t, err)
	defer g.Close()
	outputtest.Must(t, os.Remove(filepath.Dir(path)), os.WriteFile(filepath.Dir(path), nil, 0o600))
	g.Add(outputtest.Message("a"))
	now := time.Now()
	for range 3 {
		g.Flush(now)
		now = g.Next()
	}
	if len(said) != 1 {
		t.Fatalf("said %v", said)
	}
	outputtest.WantCounts(t, g, "0 1")
	outputtest.Must(t, os.Remove(filepath.Dir(path)))
	g.Flush(now)
	outputtest.WantCounts(t, g, "1 0")
	if text, err := os.ReadFile(path); err != nil || string(text) != "a\n" {
		t.Errorf("%q, %v", text, err)
	}
}

// The loop does not create a file in a call that it leaves after half a second: on a busy disk
// that would look like a file system that does not answer.
func TestLaterWaits(t *testing.T) {
	creates := 0
	f := newFile(filepath.Join(t.TempDir(), "m"), Options{Notice: outputtest.Notice, Later: true}, func(p safepath.Place) (handle, error) {
		creates++
		if bytes.Contains(debug.Stack(), []byte("watchdog.(*Watchdog).Run")) {
			t.Errorf("in the loop:\n%s", debug.Stack())
		}
		return openHandle(p)
	})
	outputtest.Must(t, f.start())
	dog := watchdog.New(func() {}, func() {})
	dog.Top(true)
	g := newGuarded(f, GuardOptions{Watchdog: dog, Problem: func(err error) { t.Error(err) }})
	defer g.Close()
	for range 2 {
		g.Add(outputtest.Message("a"))
		g.Flush(time.Now())
	}
	outputtest.WantCounts(t, g, "2 0")
	if creates != 1 {
		t.Errorf("%d times", creates)
	}
}
