package sandbox

import (
	"os"
	"path/filepath"
	"testing"
)

func setPasswd(t testing.TB, text string) {
	t.Helper()
	old := passwdFile
	t.Cleanup(func() { passwdFile = old })
	passwdFile = filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(passwdFile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestHome(t *testing.T) {
	setPasswd(t, "root:x:0:0:root:/root:/bin/sh\n# a comment\n+::::::\nshort:x:1000\nuser:x:1000:1000:,,,:/home/user/:/bin/sh\nagain:x:1000:1:::\nnone:x:1:1:::/bin/false\n")
	for uid, want := range map[int]string{0: "/root", 1000: "/home/user", 1: "", 2: ""} {
		if got := Home(uid); got != want {
			t.Errorf("%d: %q, want %q", uid, got, want)
		}
	}
	passwdFile = "/nonexistent"
	if got := Home(0); got != "" {
		t.Errorf("without passwd: %q", got)
	}
}

func FuzzHome(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/sh\n", 0)
	f.Fuzz(func(t *testing.T, passwd string, uid int) {
		setPasswd(t, passwd)
		if home := Home(uid); home != "" && home[0] != '/' {
			t.Errorf("%q", home)
		}
	})
}
