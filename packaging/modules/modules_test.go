package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// This very program is linked with Go's library, under its license.
func TestNotices(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	modules, err := read([]string{self, self})
	if err != nil || len(modules) == 0 || modules[len(modules)-1].path != standard {
		t.Fatalf("modules %v, %v", modules, err)
	}
	var notices bytes.Buffer
	if err := writeNotices(&notices, modules); err != nil || strings.Count(notices.String(), "---- Go ") != 1 || !strings.Contains(notices.String(), "The Go Authors") {
		t.Errorf("the licenses are %q, %v", &notices, err)
	}
}

// Debian's Go has no license in its own directory.
func TestLicenseElsewhere(t *testing.T) {
	if got := debianDocs("/usr/lib/go-1.24"); got != "/usr/share/doc/golang-1.24-go" {
		t.Errorf("%q", got)
	}
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/copyright", []byte("by the Go Authors\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if texts, err := licenses(t.TempDir(), dir); err != nil || len(texts) != 1 || texts[0] != "by the Go Authors" {
		t.Errorf("%q, %v", texts, err)
	}
}

func TestNotAProgram(t *testing.T) {
	if err := run([]string{"main.go"}); err == nil {
		t.Error("a text is accepted as a program")
	}
	if err := run(nil); err == nil {
		t.Error("no programs are enough")
	}
	if _, err := licenses(t.TempDir()); err == nil {
		t.Error("no license is enough")
	}
}
