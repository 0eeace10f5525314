package logfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devlog/internal/output/outputtest"
	"devlog/internal/safepath"

	"golang.org/x/sys/unix"
)

func openBelow(below, path string, r Rotation) (*File, error) {
	return openTestFile(path, Options{Notice: outputtest.Notice, Rotation: r, Below: below})
}

// Links that a container has put into its log directory are not followed.
func TestBelowRefuses(t *testing.T) {
	below, dir, victim := outputtest.Logs(t)
	outputtest.Must(t,
		os.Symlink(victim, dir+"/link"),
		os.Symlink(filepath.Join(filepath.Dir(victim), "new"), dir+"/dangling"),
		os.Symlink(filepath.Dir(victim), dir+"/sub"),
		os.Symlink(filepath.Dir(victim), below+"/c2"),
		unix.Mkfifo(dir+"/fifo", 0o600),
		os.Mkdir(dir+"/dir", 0o755),
	)
	for path, want := range map[string]string{
		dir + "/link":                "is not a regular file (no link is followed there)",
		dir + "/dangling":            "is not a regular file (no link is followed there)",
		dir + "/fifo":                "is not a regular file (no link is followed there)",
		dir + "/dir":                 "is not a regular file (no link is followed there)",
		dir + "/sub/victim":          dir + "/sub is not a directory (no link is followed there)",
		dir + "/sub/new/x":           dir + "/sub is not a directory (no link is followed there)",
		dir + "/x/../sub/victim":     dir + "/sub is not a directory (no link is followed there)",
		below + "/c2/victim":         below + "/c2 is not a directory (no link is followed there)",
		below + "/../logs/c2/victim": below + "/c2 is not a directory (no link is followed there)",
	} {
		f, err := openBelow(below, path, Rotation{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", path, err, want)
		}
		if err == nil {
			f.Close()
		}
	}
}

// Directories below it are made. Links above it and elsewhere are followed.
func TestBelow(t *testing.T) {
	below, _, _ := outputtest.Logs(t)
	linked := filepath.Join(filepath.Dir(below), "linked")
	target, link := filepath.Join(filepath.Dir(below), "target"), filepath.Join(filepath.Dir(below), "link")
	outputtest.Must(t, os.Symlink("logs", linked), os.WriteFile(target, nil, 0o600), os.Symlink("target", link))
	for path, real := range map[string]string{
		linked + "/new/a/messages": below + "/new/a/messages",
		link:                       target,
	} {
		f, err := openBelow(linked, path, Rotation{})
		outputtest.Must(t, err)
		f.Add(outputtest.Message("x"))
		f.Flush(time.Now())
		f.Close()
		if text, err := os.ReadFile(real); err != nil || string(text) != "x\n" {
			t.Errorf("%s: %q, %v", real, text, err)
		}
	}
}

// A file that was replaced by a link is still written to.
func TestBelowFollow(t *testing.T) {
	for name, replace := range map[string]func(path, victim string) error{
		"file": func(path, victim string) error {
			return errors.Join(os.Rename(path, path+".old"), os.Symlink(victim, path))
		},
		"directory": func(path, victim string) error {
			dir := filepath.Dir(path)
			return errors.Join(os.Rename(dir, dir+".old"), os.Symlink(filepath.Dir(victim), dir))
		},
	} {
		for _, reopen := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,%t", name, reopen), func(t *testing.T) {
				below, dir, victim := outputtest.Logs(t)
				path := filepath.Join(dir, "sub", filepath.Base(victim))
				f, err := openBelow(below, path, Rotation{})
				outputtest.Must(t, err)
				outputtest.Must(t, replace(path, victim))
				now := time.Now()
				if reopen {
					f.Reopen(now)
				}
				f.Add(outputtest.Message("a"))
				f.Flush(now.Add(2 * lookTime))
				var text [4 << 10]byte
				fd := int(f.file.(fdHandle))
				old, err := os.Open("/proc/self/fd/" + fmt.Sprint(fd))
				outputtest.Must(t, err)
				defer old.Close()
				n, _ := old.Read(text[:])
				if got := string(text[:n]); !strings.Contains(got, "a\n") || !strings.Contains(got, writingOn+"\n") {
					t.Errorf("the old file has %q", got)
				}
				outputtest.WantCounts(t, f, "1 0")
				f.Close()
			})
		}
	}
}

// Links with the names of old files are renamed and removed like files. Nothing is read or
// written through them.
func TestBelowRotate(t *testing.T) {
	below, dir, victim := outputtest.Logs(t)
	path := filepath.Join(dir, "log")
	f, err := openBelow(below, path, Rotation{Size: 2, Count: 3, Gzip: true})
	outputtest.Must(t, err)
	for _, name := range []string{".0", ".1", ".1.gz", ".gz.tmp"} {
		outputtest.Must(t, os.Symlink(victim, path+name))
	}
	for _, text := range []string{"a", "b", "c", "d", "e"} {
		f.Add(outputtest.Message(text))
		f.Flush(time.Now())
		finish(t, f)
	}
	entries, err := os.ReadDir(dir)
	outputtest.Must(t, err)
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasSuffix(e.Name(), gzipSuffix) {
			t.Errorf("%s was made though a link is in the way", e.Name())
		}
	}
	if text, err := os.ReadFile(path + ".0"); err != nil || string(text) == "precious" {
		t.Errorf("the latest old file: %q, %v", text, err)
	}
	outputtest.Must(t, os.Remove(path+".gz.tmp"))
	for _, text := range []string{"f", "g", "h"} {
		f.Add(outputtest.Message(text))
		f.Flush(time.Now())
		finish(t, f)
	}
	wantContents(t, path, map[string]string{"log": "h\n", "log.0": "g\n", "log.1.gz": "f\n", "log.2.gz": "e\n"})
	f.Close()
}

// An old file is replaced by a link just before it is compressed.
func TestBelowCompress(t *testing.T) {
	below, dir, victim := outputtest.Logs(t)
	path := filepath.Join(dir, "log")
	d, name, err := safepath.New(path, below).Folder()
	outputtest.Must(t, err, os.Symlink(victim, path+".1"))
	job := startCompression(d, name, "log.1")
	if err := <-job.done; err == nil || !strings.HasSuffix(err.Error(), "log.1: unexpected file type") {
		t.Errorf("got %v", err)
	}
	job.close()
	if _, err := os.Lstat(path + gzipSuffix + ".tmp"); err == nil {
		t.Error("a copy was begun")
	}
}

// A directory that root makes for another user is made where its path says, and
// nothing else is given to him.
