package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The hook's own flags and variables override annotations.
func TestAnnotationsAndFlags(t *testing.T) {
	for _, tt := range []struct {
		flags, env string
		annotation string // devlog.dev/socket's value
		says       string
	}{
		{"", "", "relative", "annotation devlog.dev/socket"},
		{"--annotations none", "", "relative", "/nowhere/x"},
		{"--annotations some", "", "/run/x/log", "--annotations"},
		{"", "DEVLOG_ANNOTATIONS=none", "relative", "/nowhere/x"},
		{"--socket=/dev/x", "", "/run/x/log", "--socket /dev/x"},
		{"", "DEVLOG_SOCKET=/dev/y", "/run/x/log", "--socket /dev/y"},
		{"", "", "/run/x/log", "/nowhere/x"},
	} {
		clean(t)
		bundle := t.TempDir()
		config := `{"root":{"path":"/nowhere/x"},"annotations":{"devlog.dev/socket":"` + tt.annotation + `"}}`
		if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		if name, value, ok := strings.Cut(tt.env, "="); ok {
			t.Setenv(name, value)
		}
		// A stage at which nothing can be found in here.
		state := strings.NewReader(`{"id":"c1","pid":0,"bundle":"` + bundle + `"}`)
		var errs bytes.Buffer
		p := &program{stdin: state, stderr: &errs, logs: []string{t.TempDir()}}
		args := append([]string{"devlog-hook", "oci", "--stage", "createContainer"}, strings.Fields(tt.flags)...)
		if code := p.exit(p.run(args)); code == exitDone {
			t.Errorf("%s %s: exit code 0", tt.flags, tt.env)
		}
		oneLine(t, errs.String(), tt.says)
	}
}
