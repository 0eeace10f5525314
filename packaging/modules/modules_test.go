package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestModuleHash(t *testing.T) {
	for sum, want := range map[string]string{
		"h1:AAEC": "000102",
		"h2:AAEC": "",
		"h1:?":    "",
		"":        "",
	} {
		if got, err := moduleHash(sum); got.Content != want || (err == nil) != (want != "") {
			t.Errorf("moduleHash(%q) = %v, %v, want %q", sum, got, err, want)
		}
	}
}

// TestOwn: this very program says what it is made of, the same each time.
func TestOwn(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "0")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	programs, err := read([]string{self})
	if err != nil {
		t.Fatal(err)
	}
	var a, b, notices bytes.Buffer
	if err := writeSBOM(&a, "1", programs); err != nil {
		t.Fatal(err)
	}
	if err := writeSBOM(&b, "1", programs); err != nil || a.String() != b.String() {
		t.Errorf("another one each time, %v:\n%s\n%s", err, &a, &b)
	}
	if !strings.Contains(a.String(), `"timestamp": "1970-01-01T00:00:00Z"`) {
		t.Errorf("the time is not SOURCE_DATE_EPOCH:\n%s", &a)
	}
	if err := writeNotices(&notices, programs); err != nil || !strings.Contains(notices.String(), "The Go Authors") {
		t.Errorf("the licenses are %q, %v", &notices, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if err := writeSBOM(&a, "1", programs); err == nil {
		t.Error("a time that is no number is taken")
	}
}

func TestNotAProgram(t *testing.T) {
	if err := run([]string{"sbom", "1", "main.go"}); err == nil {
		t.Error("a text is a program")
	}
	if err := run([]string{"sbom", "1"}); err == nil {
		t.Error("no programs are enough")
	}
	if _, err := licenses(t.TempDir()); err == nil {
		t.Error("no license is enough")
	}
}
