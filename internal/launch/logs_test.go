package launch

import (
	"testing"
)

func TestHomeOf(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/sh\n# a comment\n+::::::\nshort:x:1000\nuser:x:1000:1000:,,,:/home/user/:/bin/sh\nagain:x:1000:1:::\nnone:x:1:1:::/bin/false\n"
	for uid, want := range map[int]string{0: "/root", 1000: "/home/user", 1: "", 2: ""} {
		if got := homeOf(passwd, uid); got != want {
			t.Errorf("%d: %q, want %q", uid, got, want)
		}
	}
}

func FuzzHomeOf(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/sh\n", 0)
	f.Fuzz(func(t *testing.T, passwd string, uid int) {
		if home := homeOf(passwd, uid); home != "" && home[0] != '/' {
			t.Errorf("%q", home)
		}
	})
}
