package devlogd

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// An upgrade during the compression of an old file leaves nothing half done: the next program
// starts it again.
func TestUpgradeWhileCompressing(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	old := make([]byte, 8<<20)
	if _, err := rand.Read(old); err != nil { // it takes the longest
		t.Fatal(err)
	}
	if err := os.WriteFile(log+".1", old, 0o600); err != nil {
		t.Fatal(err)
	}
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "*.* -"+log+";rotate=1G:5,gzip")
	for i := range 3 {
		send(t, dial(t, sock), "<13>x")
		d.signal(unix.SIGUSR2)
		awaitTimes(t, log, upgraded, i+1)
	}
	eventually(t, "the old file is compressed", func() bool {
		_, err := os.Stat(log + ".1")
		return errors.Is(err, unix.ENOENT)
	})
	d.stop()
	f, err := os.Open(log + ".1.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, old) {
		t.Errorf("%d bytes of %d, %v", len(got), len(old), err)
	}
	if left, err := filepath.Glob(log + "*"); err != nil || len(left) != 2 {
		t.Errorf("left over: %q, %v", left, err)
	}
	if n := strings.Count(content(t, log), "box x\n"); n != 3 {
		t.Errorf("%d messages", n)
	}
}
