package daemon

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"devlog/internal/handover"

	"golang.org/x/sys/unix"
)

// nulls returns open files to pass, all with low descriptors.
func nulls(t *testing.T, n int) []handover.Passed {
	t.Helper()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	var list []handover.Passed
	for i := range n {
		list = append(list, handover.Passed{File: f, Name: fmt.Sprint("null", i)})
	}
	return list
}

// The image of a sealed receiver is not in the way of the files, however many
// there are and whatever their descriptors.
func TestStartWithManyFiles(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 29, 30, 31, 45, 60, 61, 62, handover.MaxFiles} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		pid, err := Start(Spec{
			Path: self, Sealed: true, Env: []string{"DAEMON_TEST=count"}, Timeout: 20 * time.Second,
			Files: append(nulls(t, n-1), handover.Passed{File: w, Name: "out"}),
		})
		w.Close()
		if err != nil {
			t.Fatalf("%d files: %v", n, err)
		}
		said, err := io.ReadAll(r)
		if want := fmt.Sprint(n+1, " files"); err != nil || string(said) != want {
			t.Errorf("%q, %v, want %s", said, err, want)
		}
		r.Close()
		if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
			t.Errorf("wait for the receiver: %v", err)
		}
	}
	_, err = Start(Spec{Path: self, Files: nulls(t, handover.MaxFiles+1), Timeout: time.Second})
	if err == nil || !strings.Contains(err.Error(), "201 files to pass, but at most 200 are possible") {
		t.Errorf("too many files: %v", err)
	}
}
