package docs

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// The largest sizes of a package, a file and a struct, without tests.
const (
	maxPackage = 1500 // lines
	maxFile    = 410
	maxFields  = 15
)

// Packages, files and structs stay small.
func TestSizes(t *testing.T) {
	lines := map[string]int{}
	structs := 0
	for _, root := range []string{"../cmd", "../internal"} {
		host.Check(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(path, "../")
			n := bytes.Count(text, []byte("\n"))
			lines[filepath.Dir(name)] += n
			if n > maxFile {
				t.Errorf("%s has %d lines, more than %d", name, n, maxFile)
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
			if err != nil {
				return err
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				s, ok := n.(*ast.StructType)
				if ok {
					structs++
					if fields := s.Fields.NumFields(); fields > maxFields {
						t.Errorf("%s: a struct with %d fields, more than %d: the first is %s", name, fields, maxFields, s.Fields.List[0].Names)
					}
				}
				return true
			})
			return nil
		}))
	}
	for name, n := range lines {
		if n > maxPackage {
			t.Errorf("%s has %d lines, more than %d", name, n, maxPackage)
		}
	}
	if len(lines) < 40 || structs < 100 {
		t.Errorf("only %d packages and %d structs were found", len(lines), structs)
	}
}
