package devlog

import "testing"

func TestOutsideID(t *testing.T) {
	for _, tt := range []struct {
		text     string
		id, want int
	}{
		{"         0          0 4294967295\n", 0, 0},
		{"         0          0 4294967295\n", 1000, 1000},
		{"0 1000 1\n1 100000 65536\n", 0, 1000},
		{"0 1000 1\n1 100000 65536\n", 33, 100032},
		{"0 1000 1\n", 1, 1}, {"", 7, 7}, {"x y z\n0 1000 1\n", 0, 0}, {"0 1000\n", 0, 0},
	} {
		if got := outsideID(tt.text, tt.id); got != tt.want {
			t.Errorf("%q: %d is %d, want %d", tt.text, tt.id, got, tt.want)
		}
	}
}

func FuzzOutsideID(f *testing.F) {
	f.Add("0 1000 1\n1 100000 65536\n", 0)
	f.Fuzz(func(_ *testing.T, text string, id int) { outsideID(text, id) })
}

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
