package hooks

import (
	"encoding/json"
	"io/fs"
	"slices"
	"strings"
	"testing"
)

func TestFile(t *testing.T) {
	var used []string
	for _, kind := range Kinds {
		for _, name := range allOf(kind) {
			used = append(used, name)
			standing, err := files.ReadFile(name)
			if err != nil {
				t.Fatalf("%s: %v", kind.Name, err)
			}
			if same, err := File(name, Dir); err != nil || same != string(standing) {
				t.Errorf("%s for %s is not the file itself: %v", name, Dir, err)
			}
			moved, err := File(name, "/opt/x-1.0_a+b")
			if err != nil || strings.Contains(moved, Dir) {
				t.Errorf("%s for another directory: %v\n%s", name, err, moved)
			}
			if path := "/opt/x-1.0_a+b"; !strings.Contains(moved, path) && kind.Name != "kubernetes" && !kind.Ships && !strings.HasSuffix(name, ".socket") {
				t.Errorf("%s has no path of ours:\n%s", name, moved)
			}
			if isJSON := strings.HasSuffix(name, ".json"); isJSON && !json.Valid(standing) {
				t.Errorf("%s is not valid JSON", name)
			} else if isJSON != (kind.Place != "") && len(kind.Files) == 1 {
				t.Errorf("%s: where it goes is said %q", name, kind.Place)
			}
		}
	}
	for _, kind := range Kinds {
		for _, name := range allOf(kind) {
			standing, err := FileFor(name, Server)
			if err != nil || strings.Contains(standing, Server) != kind.Ships {
				t.Errorf("%s for %s: %v\n%s", name, Server, err, standing)
			}
			if other, err := FileFor(name, "[2001:db8::1]"); err != nil || strings.Contains(other, Server) {
				t.Errorf("%s for another server: %v\n%s", name, err, other)
			}
		}
	}
	for _, server := range []string{"", "a b", `a"`, "a\nb", "a/b", "http://a", "a$", "ä"} {
		if _, err := FileFor("devlog.rsyslog.conf", server); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("FileFor %q: %v", server, err)
		}
	}
	all, err := fs.Glob(files, "*")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(used)
	used = slices.Compact(used)
	if !slices.Equal(used, all) {
		t.Errorf("the files are %q, of kinds are %q", all, used)
	}
	for _, dir := range []string{"/a b", `/a"b`, "/a\nb", "/a:b", "/ä", "/a|b", "/a\\b", "/$a"} {
		if _, err := File("devlog.lxc.conf", dir); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("File for %q: %v", dir, err)
		}
	}
}

// allOf returns the names of all files of the kind.
func allOf(k Kind) []string {
	if k.ForAll == "" {
		return k.Files
	}
	return append(slices.Clone(k.Files), k.ForAll)
}
