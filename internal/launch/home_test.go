package launch

import (
	"testing"
)

func TestServiceOf(t *testing.T) {
	for text, want := range map[string]string{
		"0::/system.slice/foo.service\n":                                      "foo.service",
		"0::/system.slice/foo.service/sub/group\n":                            "foo.service",
		"0::/user.slice/user-0.slice/session-3.scope\n":                       "",
		"0::/user.slice/user-1.slice/user@1.service/app.slice/a.scope\n":      "",
		"0::/user.slice/user-1.slice/user@1.service/app.slice/b.service\n":    "b.service",
		"4:memory:/x.service\n1:name=systemd:/system.slice/foo.service\n0::/": "foo.service",
		"0::/\n": "", "": "", "0::": "", "nonsense": "", "4:memory:/x.service\n": "", "0::x.service": "x.service",
	} {
		if got := serviceOf(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzServiceOf(f *testing.F) {
	f.Add("0::/system.slice/foo.service\n")
	f.Fuzz(func(_ *testing.T, text string) { serviceOf(text) })
}
