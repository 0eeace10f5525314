package host

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

// buildTemplate makes a container's root directory: busybox with its applets, the
// client, which uses the C library's syslog(3), and util-linux' logger, which speaks the
// protocol itself.
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
	if Missing("busybox") != "" || Missing("logger") != "" {
		return nil // NeedContainers says so
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	if err := Command("cp", busybox, filepath.Join(dir, "bin/busybox")); err != nil {
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
	for to, from := range map[string]string{"usr/bin/logger": logger, "bin/client": Client} {
		if err := CopyProgram(dir, to, from); err != nil {
			return err
		}
	}
	return nil
}

// CopyProgram copies a program and its libraries.
func CopyProgram(root, to, from string) error {
	out, err := exec.Command("ldd", from).Output()
	if err != nil {
		return fmt.Errorf("ldd %s: %w", from, err)
	}
	if err := Command("cp", from, filepath.Join(root, to)); err != nil {
		return err
	}
	for _, m := range libraryPath.FindAllSubmatch(out, -1) {
		lib := string(m[1])
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(lib)), 0o755); err != nil {
			return err
		}
		if err := Command("cp", "-L", lib, filepath.Join(root, lib)); err != nil {
			return err
		}
	}
	return nil
}

// NewRootfs copies the template to dir.
func NewRootfs(t *testing.T, dir string) {
	t.Helper()
	Check(t, Command("cp", "-a", template, dir))
}

// The scripts below are run by a container's /bin/sh.

// ThreeClients logs with each client, with the tag who, before anything else.
func ThreeClients(who string) string {
	return fmt.Sprintf("client glibc 13 'glibc-%[1]s' && /usr/bin/logger -t util 'util-%[1]s' && busybox logger -t bb 'bb-%[1]s' || exit 99\n", who)
}

// ThreeTexts returns what ThreeClients logs.
func ThreeTexts(who string) []string {
	return []string{"glibc-" + who, "util-" + who, "bb-" + who}
}

// Hold makes a script wait until Release is called for its root directory. The script
// reads a FIFO, so it wakes up at once.
const Hold = "mkfifo /tmp/hold; read _ </tmp/hold\n"

// WaitHeld waits until a script has reached Hold.
func WaitHeld(t *testing.T, rootfs string) *os.File {
	t.Helper()
	var f *os.File
	Eventually(t, "the script in "+rootfs+" waits", func() bool {
		var err error
		// Without a reader this fails with ENXIO.
		f, err = os.OpenFile(filepath.Join(rootfs, "tmp/hold"), os.O_WRONLY|unix.O_NONBLOCK, 0)
		return err == nil
	})
	return f
}

// Release lets a script continue after Hold.
func Release(t *testing.T, rootfs string) {
	t.Helper()
	f := WaitHeld(t, rootfs)
	_, err := f.WriteString("\n")
	Check(t, err)
	Check(t, f.Close())
}

// WantOnce waits until each text is in a log file, once and on its own line.
func WantOnce(t *testing.T, file string, texts ...string) {
	t.Helper()
	var got []byte
	missing := func() (list []string) {
		got, _ = os.ReadFile(file) // a missing file counts as empty
		for _, text := range texts {
			if !bytes.Contains(got, []byte(": "+text+"\n")) {
				list = append(list, text)
			}
		}
		return list
	}
	if !WaitFor(func() bool { return len(missing()) == 0 }) {
		t.Fatalf("%s lacks %q; it holds:\n%s", file, missing(), got)
	}
	for _, text := range texts {
		if n := bytes.Count(got, []byte(": "+text+"\n")); n != 1 {
			t.Errorf("%s holds %q %d times", file, text, n)
		}
	}
}

// WantNowhere fails if a text is in any file below dir.
func WantNowhere(t *testing.T, dir string, texts ...string) {
	t.Helper()
	Check(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
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
