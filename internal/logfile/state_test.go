package logfile

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"devlog/internal/output"
	"devlog/internal/output/outputtest"
)

func TestFileState(t *testing.T) {
	for name, retracts := range map[string]bool{"taken back": true, "continued": false} {
		disk := &fakeFile{room: 6}
		f := newTestFile(t, stubborn{disk, retracts})
		now := time.Now()
		sync := outputtest.Message("ccc")
		sync.Sync = true
		for _, m := range []output.Message{outputtest.Message("aaa"), outputtest.Message("bbb"), sync} {
			f.Add(m)
		}
		f.Flush(now)
		f.lines.Resume(output.State{Lost: []output.Loss{{Reason: "disk full", N: 2}}, Unsaid: 2, UnsaidBy: "disk full"})
		s := f.State(now)
		outputtest.WantCounts(t, f, "1 2 disk full=2")
		f.Add(outputtest.Message("after")) // it is still an output, and what it hands over is not its own any more
		if want := "bbb\nccc\n"; string(s.Pending) != want || s.Written != 1 || s.FD != -1 || !s.Sync {
			t.Errorf("%s: %+v", name, s)
		}
		disk.room = 1000
		g := newTestFile(t, stubborn{disk, true})
		g.Add(outputtest.Message("new"))
		g.Resume(s, now)
		outputtest.WantCounts(t, g, "1 3 disk full=2")
		if g.Buffered() != len("bbb\nccc\nnew\n") {
			t.Errorf("%s: %d bytes are pending", name, g.Buffered())
		}
		g.Flush(now)
		if want := "aaa\nbbb\nccc\nnew\nNOTICE 2 messages lost (disk full)\n"; string(disk.data) != want || disk.syncs != 1 {
			t.Errorf("%s: %q, %d syncs", name, disk.data, disk.syncs)
		}
		outputtest.WantCounts(t, g, "4 0 disk full=2")
	}
}

type stubborn struct {
	*fakeFile
	retracts bool
}

func (s stubborn) Retract(n int) bool { return s.retracts && s.fakeFile.Retract(n) }

func TestFileEndsTornLine(t *testing.T) {
	for name, tt := range map[string]struct{ before, want string }{
		"torn":   {"whole\nhal", "whole\nhal\nnext\nlast\n"},
		"whole":  {"whole\n", "whole\nnext\nlast\n"},
		"empty":  {"", "next\nlast\n"},
		"a line": {"\n", "\nnext\nlast\n"},
	} {
		path := filepath.Join(t.TempDir(), "m")
		if err := os.WriteFile(path, []byte(tt.before), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := openTestFile(path, Options{Notice: outputtest.Notice, Rotation: Rotation{Size: 1 << 20}})
		if err != nil {
			t.Fatal(err)
		}
		f.Flush(time.Now())
		if got, err := os.ReadFile(path); err != nil || string(got) != tt.before {
			t.Errorf("%s: %q after opening, %v", name, got, err)
		}
		for _, text := range []string{"next", "last"} {
			f.Add(outputtest.Message(text))
			f.Flush(time.Now())
		}
		outputtest.WantCounts(t, f, "2 0")
		f.Close()
		if got, err := os.ReadFile(path); err != nil || string(got) != tt.want {
			t.Errorf("%s: %q, want %q, %v", name, got, tt.want, err)
		}
	}
}

func TestFileEndsTornLineLater(t *testing.T) {
	disk := &fakeFile{data: []byte("hal")}
	f := newTestFile(t, disk)
	f.Add(outputtest.Message("next"))
	f.Flush(time.Now())
	outputtest.WantCounts(t, f, "0 1")
	disk.room = 100
	f.Flush(f.Next())
	outputtest.WantCounts(t, f, "1 0")
	if got := string(disk.data); got != "hal\nnext\n" {
		t.Errorf("%q", got)
	}

	disk = &fakeFile{data: []byte("hal"), room: 100}
	f = newTestFile(t, disk)
	f.Resume(output.State{Pending: []byte("half\nnext\n"), Torn: 3, FD: -1}, time.Now())
	f.Flush(time.Now())
	outputtest.WantCounts(t, f, "2 0")
	if got := string(disk.data); got != "half\nnext\n" {
		t.Errorf("%q", got)
	}
}
