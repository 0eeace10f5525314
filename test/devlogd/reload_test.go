package devlogd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// SIGHUP rereads the configuration. If that has errors, they are reported, and the old rules
// stay.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	sock, conf, a, b := filepath.Join(dir, "s"), filepath.Join(dir, "conf"), filepath.Join(dir, "a"), filepath.Join(dir, "b")
	put(t, conf, "*.* -"+a+"\n")
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--config", conf)
	fd := dial(t, sock)
	send(t, fd, "<13>t: 1")
	await(t, a, "box t: 1\n")
	before := openFiles(t, d.cmd.Process.Pid) // with what this test has inherited
	put(t, conf, "*.* -"+b+"\n*.none -"+b+"\n")
	d.signal(unix.SIGHUP)
	await(t, b, "]: read the rules again: 2\n")
	await(t, b, conf+":2: its selectors leave no message\n")
	send(t, fd, "<13>t: 2")
	await(t, b, "box t: 2\n")
	put(t, conf, "*.* -"+a+"\nfoo.* -"+a+"\n")
	d.signal(unix.SIGHUP)
	await(t, b, "]: the rules stay as they were: "+conf+":2:1: unknown facility \"foo\"")
	put(t, conf, "*.* -"+a+"\n*.* "+conf+"/x\n")
	d.signal(unix.SIGHUP)
	await(t, b, "]: the rules stay as they were: cannot open the log file "+conf+"/x: not a directory\n")
	if err := os.Remove(conf); err != nil {
		t.Fatal(err)
	}
	d.signal(unix.SIGHUP)
	await(t, b, "]: the rules stay as they were: cannot read the rules: open "+conf+": no such file or directory\n")
	send(t, fd, "<13>t: 3")
	await(t, b, "box t: 3\n")
	if got := content(t, a); got != "box t: 1\n" {
		t.Errorf("%q", got)
	}
	// The sender is asked for from now on, and the file rotated.
	put(t, conf, "!t\n*.* -"+a+";JSON\n*.err -"+b+";rotate=1M:1\n!-t\n*.* -"+b+";rotate=1M:1\n")
	d.signal(unix.SIGHUP)
	await(t, b, "]: read the rules again: 3\n")
	send(t, fd, "<13>t: 4", "<11>t: 5", "<14>u: 6")
	await(t, a, `"msg":"5","sender":{"pid":`)
	await(t, b, "box u: 6\n")
	if got := content(t, b); strings.Contains(got, "t: 4") || strings.Count(got, "t: 5\n") != 1 || strings.Count(got, "t: 2\n") != 1 {
		t.Errorf("%q", got)
	}
	if n := openFiles(t, d.cmd.Process.Pid); n > before+1 { // it has two files now
		t.Errorf("%d open files, %d with one log", n, before)
	}
	d.stop()
}

// SIGHUP rereads the time zone.
func TestReloadZone(t *testing.T) {
	dir := t.TempDir()
	sock, log, zone := filepath.Join(dir, "s"), filepath.Join(dir, "m"), filepath.Join(dir, "zone")
	put(t, zone, string(zoneFile("AAA", 3600)))
	t.Setenv("TEST_TZ", ":"+zone)
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "*.* "+log+";RFC5424")
	fd := dial(t, sock)
	send(t, fd, "<13>t: 1")
	await(t, log, "+01:00 box t")
	put(t, zone, string(zoneFile("BBB", 7200)))
	d.signal(unix.SIGHUP)
	eventually(t, "the new zone", func() bool {
		send(t, fd, "<13>t: 2")
		return strings.Contains(content(t, log), "+02:00 box t")
	})
	put(t, zone, "x")
	d.signal(unix.SIGHUP)
	await(t, log, "the time zone stays as it was: ")
	d.stop()
}

func TestPOSIXZone(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	t.Setenv("TEST_TZ", "XYZ-1:30")
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "*.* "+log+";RFC5424")
	send(t, dial(t, sock), "<13>t: 1")
	await(t, log, "+01:30 box t")
	d.stop()
}

// A reload names what the sandbox keeps out of reach.
func TestReloadOutOfReach(t *testing.T) {
	needLandlock(t)
	dir := t.TempDir()
	for _, name := range []string{"etc", "logs", "other", "more", "unknown"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	sock, conf, log := filepath.Join(dir, "s"), filepath.Join(dir, "etc/conf"), filepath.Join(dir, "logs/m")
	include := "include " + dir + "/more/*.conf\n"
	put(t, conf, include+"*.* "+log+"\n")
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--config", conf, "--sandbox", "on")
	put(t, dir+"/more/1.conf", "mail.* "+log+".mail\n") // included, in a directory that was empty
	d.signal(unix.SIGHUP)
	await(t, log, "read the rules again: 2\n")
	put(t, dir+"/unknown/1.conf", "mail.* "+log+".mail\n")
	put(t, conf, "include "+dir+"/unknown/*.conf\n*.* "+log+"\n")
	d.signal(unix.SIGHUP)
	await(t, log, "the rules stay as they were: "+conf+":1:9: cannot look for "+dir+"/unknown/*.conf: open "+dir+"/unknown: permission denied (it is outside")
	const why = ": permission denied (it is outside this receiver's sandbox); hint: restart the receiver\n"
	put(t, conf, "*.* "+dir+"/other/m\n")
	d.signal(unix.SIGHUP)
	await(t, log, "the rules stay as they were: cannot open the log file "+dir+"/other/m"+why)
	put(t, conf, "*.* "+log+"2\n")
	d.signal(unix.SIGHUP)
	await(t, log+"2", "read the rules again: 1\n")
	if err := os.Rename(filepath.Join(dir, "etc"), filepath.Join(dir, "old")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, conf, "*.* "+log+"\n")
	d.signal(unix.SIGHUP)
	await(t, log+"2", "the rules stay as they were: cannot read the rules: open "+conf+why)
	d.stop()
}

// zoneFile is a file of tzfile(5) with one zone.
func zoneFile(name string, offset uint16) []byte {
	data := append([]byte("TZif"), make([]byte, 16)...)
	data = append(data, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, byte(len(name)+1))
	data = append(data, 0, 0, byte(offset>>8), byte(offset), 0, 0)
	return append(data, name+"\x00"...)
}
