// Package outputtest has what tests of outputs share.
package outputtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"devlog/internal/output"
)

// Must ends the test if there is an error.
func Must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// Notice appends the line of a notice, "NOTICE TEXT".
func Notice(dst []byte, text string) []byte { return fmt.Appendf(dst, "NOTICE %s\n", text) }

// Message returns a message whose line is the text.
func Message(text string) output.Message {
	return output.Message{Line: []byte(text + "\n"), Body: []byte(text)}
}

// WantCounts compares the counts of the output: "WRITTEN PENDING [REASON=LOST]...".
func WantCounts(t *testing.T, o output.Output, want string) {
	t.Helper()
	c := o.Counts()
	got := fmt.Sprint(c.Written, " ", c.Pending)
	for _, l := range c.Lost {
		got += fmt.Sprintf(" %s=%d", l.Reason, l.N)
	}
	if got != want {
		t.Errorf("counts: got %s, want %s", got, want)
	}
}

// Logs makes a directory below for the logs of containers, with the directory of one container
// in it, and a file elsewhere. At its end the test fails if anything changed there.
func Logs(t *testing.T) (below, dir, elsewhere string) {
	t.Helper()
	top := t.TempDir()
	below, elsewhere = filepath.Join(top, "logs"), filepath.Join(top, "etc", "file")
	dir = filepath.Join(below, "c1")
	Must(t, os.MkdirAll(dir, 0o755), os.Mkdir(filepath.Dir(elsewhere), 0o755), os.WriteFile(elsewhere, []byte("precious"), 0o600))
	t.Cleanup(func() {
		if text, err := os.ReadFile(elsewhere); err != nil || string(text) != "precious" {
			t.Errorf("the file elsewhere: %q, %v", text, err)
		}
		if entries, err := os.ReadDir(filepath.Dir(elsewhere)); err != nil || len(entries) != 1 {
			t.Errorf("made elsewhere: %v, %v", entries, err)
		}
	})
	return below, dir, elsewhere
}
