package wrapper

import (
	"strings"
	"testing"
)

func TestCreated(t *testing.T) {
	for line, want := range map[string]string{ // "" is: none is created
		"create --bundle /b c1":             "/b",
		"create --bundle=/b c1":             "/b",
		"create -b /b c1":                   "/b",
		"create -b=/b c1":                   "/b",
		"create -b/b c1":                    "/b",
		"create -bundle /b c1":              "/b",
		"create c1 --bundle /b":             "/b", // crun
		"create --bundle /a --bundle /b c1": "/b",
		"create c1":                         ".",
		"create":                            ".",
		"create --bundle":                   ".",
		"create --pid-file /p --console-socket /s -b /b": "/b",
		"run -d -b /b c1":   "/b",
		"run --no-pivot c1": ".",
		"run -- -b /b":      ".",
		"--root /r --log /l --log-format json --systemd-cgroup create --bundle /b --pid-file /p c1": "/b",
		"--root=/r --debug create --bundle /b c1":                                                   "/b",
		"--root create --log run create --bundle /b c1":                                             "/b",
		"--future x create --bundle /b c1":                                                          "/b",
		"--future create --bundle /b c1":                                                            "/b",
		"--future --debug create --bundle /b c1":                                                    "/b",
		"--cgroup-manager=disabled run --bundle /b c1":                                              "/b",
		"start create":          "",
		"--root create start x": "",
		"delete --force create": "",
		"exec c1 create":        "",
		"state c1":              "",
		"--version":             "",
		"--help create":         ".",
		"":                      "",
		"--":                    "",
		"- create":              "",
		"--root":                "",
		"restore --bundle /b c": "",
		"spec --bundle /b":      "",
		"creates --bundle /b c": "",
	} {
		bundle, ok := created(strings.Fields(line))
		if ok != (want != "") || bundle != want {
			t.Errorf("created(%q) = %q, %t; want %q", line, bundle, ok, want)
		}
	}
}

// FuzzCreated: an option's value is never taken for the command, and a bundle
// is always one of the arguments, or a part of one.
func FuzzCreated(f *testing.F) {
	f.Add("--root create start x")
	f.Add("--root /r create --bundle /b -b")
	f.Fuzz(func(t *testing.T, line string) {
		bundle, ok := created(strings.Fields(line))
		if ok && !strings.Contains(line, "create") && !strings.Contains(line, "run") {
			t.Errorf("created(%q)", line)
		}
		if ok != (bundle != "") || ok && bundle != "." && !strings.Contains(line, bundle) {
			t.Errorf("created(%q) = %q, %t", line, bundle, ok)
		}
	})
}
