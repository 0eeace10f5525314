package receiver

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"devlog/internal/names"
)

func TestForgetPrevious(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, names.Record), []byte(`{"receiver": 7, "started": "70"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	known := &holdings{}
	known.usePrevious([]string{"6/60", "7/70", "8/80", "x"})
	list := known.previousIDs
	r := &holdings{previousIDs: slices.Clone(list), cleanups: []*cleanup{{dir: openDir(t, dir), name: names.Record}}}
	if r.ForgetPrevious(); !slices.Equal(r.previousIDs, list[1:2]) || !r.notedIn(r.cleanups[0].dir) {
		t.Errorf("%v of %v", r.previousIDs, list)
	}
	r = &holdings{previousIDs: slices.Clone(list)}
	if r.ForgetPrevious(); !slices.Equal(r.previousIDs, list[:1]) {
		t.Errorf("without a record: %v", r.previousIDs)
	}
}
