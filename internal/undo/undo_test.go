package undo

import (
	"errors"
	"os"
	"strings"
	"testing"

	"devlog/internal/names"
	"devlog/internal/rootfs/rootfstest"
	"devlog/internal/target"
)

// Without a repair there is nothing to undo, whatever a neighbour has made of /dev/log.
func TestUndoHostileLink(t *testing.T) {
	for _, text := range []string{"log", "/file/x/log", "/run/" + strings.Repeat("x", 256), "/run/none/", "/run/none/../log", "/run/1/2/3/4/5/6/7/8/9/log"} {
		dir := rootfstest.Root(t)
		target, err := target.AtRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer target.Close()
		if err := errors.Join(os.WriteFile(dir+"/file", nil, 0o600), os.Symlink(text, dir+"/dev/log")); err != nil {
			t.Fatal(err)
		}
		if undone, err := Do(target, names.DefaultSocket); undone || err != nil {
			t.Errorf("%s: %t, %v", text, undone, err)
		}
	}
}
