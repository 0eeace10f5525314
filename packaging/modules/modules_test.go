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
