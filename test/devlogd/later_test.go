package devlogd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The first message creates its file, in a sandbox too, and after a reload and an upgrade. Then the
// file is rotated as any other.
func TestFileCreatedLater(t *testing.T) {
	needLandlock(t)
	dir := t.TempDir()
	sock, all, mail := filepath.Join(dir, "s"), filepath.Join(dir, "all/m"), filepath.Join(dir, "mail/m")
	conf := filepath.Join(dir, "etc/conf")
	if err := os.Mkdir(filepath.Dir(conf), 0o700); err != nil {
		t.Fatal(err)
	}
	rules := "*.* -" + all + "\nmail.* -" + mail + ";rotate=1k:2\n"
	put(t, conf, rules)
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--sandbox", "on", "--config", conf)
	absent := func(when string) {
		t.Helper()
		if names, err := os.ReadDir(filepath.Dir(mail)); err != nil || len(names) > 0 {
			t.Errorf("%s: %v, %v", when, names, err)
		}
	}
	absent("started")
	put(t, conf, rules+"user.* -"+all+"\n")
	d.signal(unix.SIGHUP)
	await(t, all, "read the rules again: 3\n")
	absent("reloaded")
	d.signal(unix.SIGUSR2)
	awaitTimes(t, all, upgraded, 1)
	absent("upgraded")
	fd := dial(t, sock)
	send(t, fd, "<22>first")
	await(t, mail, "box first\n")
	send(t, fd, "<22>"+strings.Repeat("x", 1100))
	await(t, mail, "xx\n")
	send(t, fd, "<22>last")
	await(t, mail, "box last\n")
	await(t, mail+".1", "box first\n")
	d.stop()
}
