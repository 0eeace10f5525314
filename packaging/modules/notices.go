package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// writeNotices writes the license of every module that is linked in, as it is
// in the module itself.
func writeNotices(w io.Writer, modules []module) error {
	for _, m := range modules {
		args := []string{"list", "-m", "-f", "{{.Dir}}", m.path}
		if m.path == standard {
			args = []string{"env", "GOROOT"}
		}
		out, err := exec.Command("go", args...).Output()
		if err != nil {
			return fmt.Errorf("find the module %s: %w", m.path, err)
		}
		texts, err := licenses(strings.TrimSpace(string(out)))
		if err != nil {
			return fmt.Errorf("the license of %s: %w", m.path, err)
		}
		name := m.path
		if m.path == standard {
			name = "Go"
		}
		if _, err := fmt.Fprintf(w, "\n---- %s %s\n\n%s\n", name, m.version, strings.Join(texts, "\n\n")); err != nil {
			return err
		}
	}
	return nil
}

// licenses reads the files of a module's directory, or where Debian keeps Go's,
// that say under which license it is.
func licenses(dir string) ([]string, error) {
	var texts []string
	for _, pattern := range []string{"LICENSE*", "COPYING*", "NOTICE*"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		slices.Sort(names)
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			texts = append(texts, strings.TrimSpace(string(text)))
		}
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("no file in %s has it", dir)
	}
	return texts, nil
}
