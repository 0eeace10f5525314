package handover

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseInherited(t *testing.T) {
	for _, tt := range []struct {
		count, names string
		want         []File
		ok           bool
	}{
		{"", "", nil, true},
		{"", "a:b", nil, true},
		{"0", "", []File{}, true},
		{"2", "", []File{{3, NameSocket}, {4, NameSocket}}, true},
		{"2", "log:unlink/log", []File{{3, "log"}, {4, "unlink/log"}}, true},
		{"2", "log", nil, false},
		{"-1", "", nil, false},
		{"x", "", nil, false},
		{"99999999", "", nil, false},
	} {
		got, err := parseInherited(tt.count, tt.names)
		if (err == nil) != tt.ok || !slices.Equal(got, tt.want) {
			t.Errorf("parseInherited(%q, %q) = %v, %v; want %v", tt.count, tt.names, got, err, tt.want)
		}
	}
}

func TestInheritedOfAnother(t *testing.T) {
	t.Setenv("LISTEN_PID", "1")
	t.Setenv("LISTEN_FDS", "1")
	t.Setenv("LISTEN_FDNAMES", "log")
	if files, err := Inherited(); err != nil || len(files) > 0 {
		t.Errorf("another process's files: %v, %v", files, err)
	}
	if v, ok := os.LookupEnv("LISTEN_FDS"); ok {
		t.Errorf("LISTEN_FDS=%s is left for children to find", v)
	}
}

func FuzzParseInherited(f *testing.F) {
	f.Add("2", "a:b")
	f.Add("1", "")
	f.Fuzz(func(t *testing.T, count, names string) {
		files, err := parseInherited(count, names)
		if err == nil && count != "" && strconv.Itoa(len(files)) != strings.TrimLeft(strings.TrimLeft(count, "+"), "0") && len(files) != 0 {
			t.Errorf("%d files of LISTEN_FDS=%q", len(files), count)
		}
	})
}

// A receiver starts even if its hook was killed.
func TestReportNobodyWaits(t *testing.T) {
	for _, problem := range []error{nil, errors.New("cannot open /x")} {
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(pipe[0])
		if err := Report(pipe[1], problem); (err == nil) != (problem == nil) {
			t.Errorf("%v: %v", problem, err)
		}
	}
}
