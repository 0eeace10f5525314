package rootfs

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/names"
)

// TestClaim: temporary names are the fixed ones under the lock, and others where
// those are taken or somebody else has the lock.
func TestClaim(t *testing.T) {
	root, _, _ := tree(t)
	d, err := root.Dir("/")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	claim := func() string {
		t.Helper()
		tmp, err := d.Claim(func(tmp string) error { return d.Symlink("x", tmp) })
		if err != nil {
			t.Fatal(err)
		}
		if text, err := d.Readlink(tmp); text != "x" {
			t.Errorf("%s is a link to %q, %v", tmp, text, err)
		}
		return tmp
	}
	other := func(when, tmp string) {
		t.Helper()
		if slices.Contains(SharedTemps[:], tmp) || !strings.HasPrefix(tmp, names.TempPrefix) {
			t.Errorf("%s: %s", when, tmp)
		}
	}
	other("without the lock", claim())
	unlock, err := d.Lock(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range SharedTemps {
		if tmp := claim(); tmp != want {
			t.Errorf("claimed %s, want %s", tmp, want)
		}
	}
	other("all are taken", claim())
	if _, err := d.Claim(func(string) error { return unix.ENOSPC }); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error %v", err)
	}
	if err := d.Unlink(SharedTemps[2]); err != nil {
		t.Fatal(err)
	}
	if tmp := claim(); tmp != SharedTemps[2] {
		t.Errorf("claimed %s, want the one that is free", tmp)
	}
	unlock()
	other("after the lock", claim())
}
