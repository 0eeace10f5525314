package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"devlog/test/host"
)

// said returns the texts in messages of check and repair: all texts in package plan, and the reasons
// and advice of refusals in all packages.
func said(t *testing.T) (texts []string) {
	t.Helper()
	files, err := filepath.Glob("../internal/*/*.go")
	host.Check(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		whole := filepath.Base(filepath.Dir(name)) == "plan"
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		host.Check(t, err)
		add := func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				text, err := strconv.Unquote(l.Value)
				host.Check(t, err)
				texts = append(texts, text)
			}
			return true
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if whole {
					ast.Inspect(n, add)
				}
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && (key.Name == "Reason" || key.Name == "Advice") {
					ast.Inspect(n.Value, add)
				}
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "notAllowed" {
					ast.Inspect(n, add)
				}
			}
			return true
		})
	}
	return texts
}

// Everything that check and repair can print is in the page about troubleshooting.
func TestTroubleshootingIsComplete(t *testing.T) {
	const page = "../docs/troubleshooting.md"
	text, err := os.ReadFile(page)
	host.Check(t, err)
	seen := 0
	verbs := regexp.MustCompile(`%[a-z]`)
	for _, whole := range said(t) {
		for _, part := range verbs.Split(whole, -1) {
			part = strings.Trim(part, " ,;:()")
			if len(strings.Fields(part)) < 3 { // "a", "link to", "would"
				continue
			}
			if seen++; !strings.Contains(string(text), part) {
				t.Errorf("%s lacks %q, of %q", page, part, whole)
			}
		}
	}
	if seen < 60 {
		t.Errorf("only %d texts found", seen)
	}
}
