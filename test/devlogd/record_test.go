package devlogd

import (
	"os"
	"path/filepath"
	"testing"

	"devlog/internal/names"
)

// A repair that replaces a receiver notes the new one and then ends the old,
// which is not to remove what is the new one's.
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
