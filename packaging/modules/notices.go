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
		dir := strings.TrimSpace(string(out))
		dirs := []string{dir}
		if m.path == standard {
			dirs = append(dirs, debianDocs(dir))
		}
		texts, err := licenses(dirs...)
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

// debianDocs is where Debian and Ubuntu have the license of the Go that is in goroot, which is
// not in there: for /usr/lib/go-1.24, in /usr/share/doc/golang-1.24-go.
func debianDocs(goroot string) string {
	return "/usr/share/doc/golang-" + strings.TrimPrefix(filepath.Base(goroot), "go-") + "-go"
}

// licenses reads the files that state a module's license, in the first of the directories that
// has any.
func licenses(dirs ...string) (texts []string, err error) {
	for _, dir := range dirs {
		for _, pattern := range []string{"LICENSE*", "COPYING*", "NOTICE*", "copyright"} {
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
		if len(texts) > 0 {
			return texts, nil
		}
	}
	return nil, fmt.Errorf("no file in %s states it", strings.Join(dirs, " or "))
}
