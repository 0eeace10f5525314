package handover

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/names"
)

// fill gives each number, text, time and flag in v another value.
func fill(v reflect.Value, n *int64) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Int, reflect.Int64:
		v.SetInt(*n)
	case reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		if v.Type() == reflect.TypeFor[Text]() {
			v.SetString("te xt\n\"\\\xff\x00:" + strings.Repeat("é", int(*n%7)))
		} else {
			v.SetString("text")
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte("line\nanother \xfe"))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		for _, name := range []string{"received", "own"} {
			*n++
			v.SetMapIndex(reflect.ValueOf(name), reflect.ValueOf(uint64(*n)))
		}
	}
}

// full is a description in which nothing is zero.
func full() *Description {
	d := NewDescription()
	n := int64(0)
	fill(reflect.ValueOf(d).Elem(), &n)
	d.PreviousIDs, d.Unreadable = nil, nil // not written
	return d
}

// All of a description is handed over.
func TestDescription(t *testing.T) {
	for name, d := range map[string]*Description{"full": full(), "empty": NewDescription()} {
		got, err := Parse(d.Format())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(got.Format(), d.Format()) {
			t.Errorf("%s: got %s, want %s", name, got.Format(), d.Format())
		}
	}
}

// Another version's description is read as far as it is known. What is missing is as in a
// receiver that has just started.
func TestParseOfAnotherVersion(t *testing.T) {
	text := string(full().Format())
	same := func(d *Description) bool { return bytes.Equal(d.Format(), full().Format()) }
	for name, tt := range map[string]struct {
		text string
		want func(d *Description) bool
	}{
		"a member more": {strings.Replace(text, "{", "{\"more\":{\"a\":[1]},", 1), same},
		"another type": {`{"receives":7,"started":"never","places":[{"dir":"x","name":"n"}],"sockets":[{"fd":3}]}`, func(d *Description) bool {
			return d.Cleanups[0].Dir == -1 && d.Cleanups[0].Name == "n" && d.Sockets[0].FD == 3 && d.Sockets[0].Cleanup == -1
		}},
		"members less": {`{"kernel":{},"confinement":{},"outputs":[{"state":{}},{}],"connections":[{}]}`, func(d *Description) bool {
			return d.Kernel.FD == -1 && d.Confinement.Mark == -1 && d.Outputs[0].State.FD == -1 && d.Connections[0].Socket == -1
		}},
		"a later format": {`{"files":{"init":4},"sockets":[null],"outputs":{},"counters":null,"later":true}`, func(d *Description) bool {
			return d.Files == Files{4, -1} && len(d.Sockets) == 0 && d.Counters != nil
		}},
		"a number too big": {`{"files":{"init":99999999999999999999}}`, func(d *Description) bool { return d.Files.Init == -1 }},
	} {
		d, err := Parse([]byte(tt.text))
		if err != nil || !tt.want(d) {
			t.Errorf("%s: %v, %+v", name, err, d)
		}
	}
	for _, text := range []string{"", "garbage", "devlogd-other 1\nbase", "devlogd-state 1\nbase 1\n", `{"files":`} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), "which begins with") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseDescription(f *testing.F) {
	f.Add(full().Format())
	f.Add(NewDescription().Format())
	f.Add([]byte(`{"sockets":[{"fd":3,"path":"\"x\\xff\""},null],"started":"2026-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Parse(data)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: an error of several lines: %v", data, err)
			}
			return
		}
		text := d.Format()
		again, err := Parse(text)
		if err != nil || !bytes.Equal(again.Format(), text) {
			t.Errorf("%q: %v, %q", data, err, text)
		}
		_ = d.Descriptors()
	})
}

// Descriptors that are not open, or cannot be received from, are left out, and references to
// them become -1.
func TestSettle(t *testing.T) {
	path, fds := leftFiles(t)
	d := &Description{
		Files:       Files{Init: 1 << 20, Root: fds[5]},
		Cleanups:    []*Cleanup{{Dir: 1 << 20, Name: "a"}, {Dir: fds[0], Name: "b"}},
		Sockets:     []*Socket{{FD: fds[1], Cleanup: 0}, {FD: fds[3], Cleanup: 1}, {FD: 1 << 20, Cleanup: 7}},
		Connections: []*Connection{{FD: fds[4], Socket: 0}, {FD: fds[5], Socket: 1}, {FD: 1 << 20, Socket: 1}},
		Kernel:      &KernelLog{FD: 1 << 20},
	}
	d.Settle()
	if d.Files.Init != -1 || d.Files.Root != fds[5] || len(d.Cleanups) != 1 || len(d.Sockets) != 1 || d.Sockets[0].Cleanup != 0 || d.Kernel != nil ||
		len(d.Connections) != 2 || d.Connections[0].Socket != -1 || d.Connections[1].Socket != 0 {
		t.Errorf("%s: %s", path, d.Format())
	}
}

// leftFiles are a directory, two connected sockets, one with a name, a process and a
// root directory.
func leftFiles(t *testing.T) (path string, fds []int) {
	t.Helper()
	dir := t.TempDir()
	path = dir + "/log"
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	named, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(named, &unix.SockaddrUnix{Name: path})
	}
	if err != nil {
		t.Fatal(err)
	}
	process, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	fds = []int{-1, pair[0], pair[1], named, process, -1}
	for i, name := range map[int]string{0: dir, 5: "/"} {
		if fds[i], err = unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, fd := range fds {
			_ = unix.Close(fd) // the test has closed some
		}
	})
	return path, fds
}

// A description can be made from the open files alone.
func TestUndescribed(t *testing.T) {
	path, fds := leftFiles(t)
	entries, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(entries, &unix.SockaddrUnix{Name: filepath.Dir(path) + "/" + names.JournalTemp + "x"})
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(entries)
	d := Undescribed(append(fds, entries), os.ErrInvalid)
	if len(d.Sockets) != 2 || d.Sockets[0].FD != fds[3] || d.Sockets[0].Journal || !d.Sockets[1].Journal || d.Files != (Files{fds[4], fds[5]}) || !d.Receives {
		t.Errorf("%s: %v, %s", path, fds, d.Format())
	}
	for _, fd := range fds[:3] {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); !errors.Is(err, unix.EBADF) {
			t.Errorf("descriptor %d is open: %v", fd, err)
		}
	}
}
