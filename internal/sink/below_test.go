package sink

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/internal/output/outputtest"
	"devlog/internal/safepath"

	"golang.org/x/sys/unix"
)

func TestBelowFIFO(t *testing.T) {
	below, dir, victim := outputtest.Logs(t)
	elsewhere := filepath.Join(filepath.Dir(filepath.Dir(victim)), "fifo")
	outputtest.Must(t, unix.Mkfifo(dir+"/fifo", 0o600), unix.Mkfifo(elsewhere, 0o600), os.Symlink(elsewhere, dir+"/link"))
	for path, want := range map[string]string{
		dir + "/fifo": "",
		dir + "/link": "it is not a named pipe",
		elsewhere:     "",
	} {
		f, err := openFIFO(safepath.New(path, below))
		if want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
		if err == nil {
			f.Close()
		}
	}
}
