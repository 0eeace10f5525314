package test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// libraryPath finds the libraries in ldd's output.
var libraryPath = regexp.MustCompile(`(/\S+) \(0x`)

// buildTemplate makes a container's root directory: busybox with its applets,
// and what uses the C library's syslog(3) and what speaks the protocol itself:
// the client and util-linux' logger.
func buildTemplate(dir string) error {
	for _, d := range []string{"bin", "dev", "etc", "opt/devlog", "proc", "root", "run", "sys", "tmp", "usr/bin", "var/log"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	files := map[string]string{"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\n"}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if missing("busybox") != "" || missing("logger") != "" {
		return nil // needContainers says so
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	if err := command("cp", busybox, filepath.Join(dir, "bin/busybox")); err != nil {
		return err
	}
	for _, applet := range strings.Fields("sh cat ls ln rm mv mkdir mkfifo mount umount ps readlink sleep echo id kill seq true false stat nc env") {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", applet)); err != nil {
			return err
		}
	}
	logger, err := exec.LookPath("logger")
	if err != nil {
		return err
	}
	for to, from := range map[string]string{"usr/bin/logger": logger, "bin/client": client} {
		if err := copyProgram(dir, to, from); err != nil {
			return err
		}
	}
	return nil
}

// copyProgram copies a program and the libraries it is linked with.
func copyProgram(root, to, from string) error {
	out, err := exec.Command("ldd", from).Output()
	if err != nil {
		return fmt.Errorf("ldd %s: %w", from, err)
	}
	if err := command("cp", from, filepath.Join(root, to)); err != nil {
		return err
	}
	for _, m := range libraryPath.FindAllSubmatch(out, -1) {
		lib := string(m[1])
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(lib)), 0o755); err != nil {
			return err
		}
		if err := command("cp", "-L", lib, filepath.Join(root, lib)); err != nil {
			return err
		}
	}
	return nil
}

// newRootfs copies the template to dir.
func newRootfs(t *testing.T, dir string) {
	t.Helper()
	check(t, command("cp", "-a", template, dir))
}

// The scripts below are run by a container's /bin/sh.

// threeClients logs with each client, tagged with who, first of all things.
func threeClients(who string) string {
	return fmt.Sprintf("client glibc 13 'glibc-%[1]s' && /usr/bin/logger -t util 'util-%[1]s' && busybox logger -t bb 'bb-%[1]s' || exit 99\n", who)
}

// threeTexts is what threeClients logs.
func threeTexts(who string) []string {
	return []string{"glibc-" + who, "util-" + who, "bb-" + who}
}

// hold makes a script wait until release is called for its root directory. A
// FIFO is read, so that the script wakes at once and needs no clock.
const hold = "mkfifo /tmp/hold; read _ </tmp/hold\n"

// waitHeld waits until a script has come to hold, and so has done all before.
func waitHeld(t *testing.T, rootfs string) *os.File {
	t.Helper()
	var f *os.File
	eventually(t, "the script in "+rootfs+" waits", func() bool {
		var err error
		// Without a reader this fails with ENXIO.
		f, err = os.OpenFile(filepath.Join(rootfs, "tmp/hold"), os.O_WRONLY|unix.O_NONBLOCK, 0)
		return err == nil
	})
	return f
}

// release lets a script go on that has come to hold.
func release(t *testing.T, rootfs string) {
	t.Helper()
	f := waitHeld(t, rootfs)
	_, err := f.WriteString("\n")
	check(t, err)
	check(t, f.Close())
}

// wantOnce waits until each text is on a line of its own in a log file, once.
func wantOnce(t *testing.T, file string, texts ...string) {
	t.Helper()
	var got []byte
	missing := func() (list []string) {
		got, _ = os.ReadFile(file) // not there yet is as good as empty
		for _, text := range texts {
			if !bytes.Contains(got, []byte(": "+text+"\n")) {
				list = append(list, text)
			}
		}
		return list
	}
	if !waitFor(func() bool { return len(missing()) == 0 }) {
		t.Fatalf("%s lacks %q; it holds:\n%s", file, missing(), got)
	}
	for _, text := range texts {
		if n := bytes.Count(got, []byte(": "+text+"\n")); n != 1 {
			t.Errorf("%s holds %q %d times", file, text, n)
		}
	}
}

// wantNowhere fails if a text is in any file below dir.
func wantNowhere(t *testing.T, dir string, texts ...string) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		got, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, text := range texts {
			if bytes.Contains(got, []byte(text)) {
				t.Errorf("%s holds %q, which is not for it", path, text)
			}
		}
		return nil
	}))
}
