package changes

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"devlog/internal/names"
	"devlog/internal/record"
	"devlog/internal/rootfs"
	"devlog/internal/rootfs/rootfstest"
)

// devlog-hook reads back the record that it wrote, and devlogd finds itself in it, as a link's
// text and as a file.
func TestWrite(t *testing.T) {
	for what, long := range map[string]int{"link": 10, "file": 5000} {
		d, path := rootfstest.Dir(t)
		c := Changes{Receiver: 7, Started: "70", PIDNS: 1, Before: Before{Was: rootfs.Link, WasLink: "/run/\"x\\"}, Set: names.DefaultSocket,
			Made: []string{strings.Repeat("x", long)}, Socket: names.DefaultSocket}
		if err := c.Write(d); err != nil {
			t.Fatal(err)
		}
		if st, err := d.Lstat(names.Record); err != nil || (st.Kind == rootfs.Link) != (what == "link") {
			t.Errorf("%s: a %s, %v", what, st.Kind, err)
		}
		if got := Read(d); got == nil || !reflect.DeepEqual(*got, c) {
			t.Errorf("%s: read %+v, want %+v", what, got, c)
		}
		if OfHost(d) != nil {
			t.Errorf("%s: of a host", what)
		}
		for _, tt := range []struct {
			pid     int
			started string
			want    bool
		}{{7, "70", true}, {8, "70", false}, {7, "71", false}, {7, "", false}} {
			if got := (record.Process{PID: tt.pid, Started: tt.started}).NotedIn(d.FD()); got != tt.want {
				t.Errorf("%s: names process %d of %q: %t", what, tt.pid, tt.started, got)
			}
		}
		if err := os.RemoveAll(filepath.Join(path, names.Record)); err != nil {
			t.Fatal(err)
		}
		if Read(d) != nil {
			t.Errorf("%s: read nothing as a record", what)
		}
	}
}

// Temporary files go, and nothing else.
func TestRemoveTemporary(t *testing.T) {
	d, path := rootfstest.Dir(t)
	for _, name := range []string{names.TempPrefix + "x", "log"} {
		if err := os.WriteFile(filepath.Join(path, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	RemoveTemporary(d)
	if list, err := d.Names(0); err != nil || len(list) != 1 || list[0] != "log" {
		t.Errorf("left: %q, %v", list, err)
	}
}
