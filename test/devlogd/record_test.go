package devlogd

import (
	"os"
	"path/filepath"
	"testing"

	"devlog/internal/names"
)

// A repair that replaces a receiver records the new one and then ends the old one, which must
// not remove the new one's files.
func TestReplacedReceiverLeavesRecord(t *testing.T) {
	b := newBox(t, "nothing")
	old := b.keep()
	link := filepath.Join(filepath.Dir(b.Sock), ".devlog-link")
	b.Must(os.Symlink("x", link))
	b.record(old.cmd.Process.Pid)
	b.Must(os.Remove(b.Sock))
	fresh := b.keep()
	b.record(fresh.cmd.Process.Pid)
	old.stop()
	for _, name := range []string{b.Sock, link, filepath.Join(filepath.Dir(b.Sock), names.Record)} {
		if _, err := os.Lstat(name); err != nil {
			t.Errorf("the old one removed it: %v", err)
		}
	}
	fresh.stop()
	if _, err := os.Lstat(filepath.Join(filepath.Dir(b.Sock), names.Record)); err == nil {
		t.Error("the new one did not remove its record")
	}
}
