package confine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/daemon"
	"devlog/internal/file"
	"devlog/internal/receiver"
	"devlog/internal/router"
	"devlog/internal/sandbox"
	"devlog/internal/syslogconf"
)

// A program in the root directory is not to have every file read.
func TestPolicyOfRoot(t *testing.T) {
	c := &confinement{options: &Options{Below: func(string) string { return "" }}}
	c.program("/proc/self/exe")
	c.program("/etc") // no file that could be one
	defer c.close()
	var root, st unix.Stat_t
	if err := unix.Stat("/", &root); err != nil {
		t.Fatal(err)
	}
	for _, r := range c.Rules {
		if err := unix.Fstat(r.FD, &st); err != nil || file.IDOf(&st) == file.IDOf(&root) {
			t.Errorf("the root directory is allowed, %v", err)
		}
	}
	if len(c.Rules) != 1 {
		t.Errorf("%d rules", len(c.Rules))
	}
}

// The kept privileges follow from what the receiver does later.
func TestPolicy(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name, needs string
		mode        sandbox.Mode
		caps        sandbox.Caps
		landlock    bool
	}{
		{"names", daemon.NeedsNames, sandbox.Auto, capsOfNames, true},
		{"ids", daemon.NeedsIDs, sandbox.Auto, capsOfIDs, true},
		{"host", daemon.NeedsHost, sandbox.Auto, capsOfNames, true},
		{"mounts", daemon.NeedsMounts, sandbox.Auto, capsOfMounts, false},
		{"mounts, on", daemon.NeedsMounts, sandbox.On, capsOfNames, true},
	} {
		root, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		o := Options{Mode: tt.mode, Needs: tt.needs, Unread: true, Below: func(string) string { return "" }}
		c := &confinement{options: &o}
		c.decide(receiver.Needs{Root: int(root.Fd()), Command: []string{"/usr/bin/true"}})
		if c.Caps != tt.caps || (c.why == "") != tt.landlock {
			t.Errorf("%s: %s, %q; want %s, confined %t", tt.name, c.Caps, c.why, tt.caps, tt.landlock)
		}
		if want := tt.landlock && tt.needs != daemon.NeedsHost; slices.Contains(c.writes, "the container") != want {
			t.Errorf("%s: writes %q", tt.name, c.writes)
		}
		c.close()
		_ = root.Close()
	}
}

// An output's name adds no rule for a file of another type, or for the target of a link that a
// container could have made.
func TestPolicyOfOutputs(t *testing.T) {
	logs := t.TempDir()
	at := func(name string) string { return filepath.Join(logs, name) }
	if err := errors.Join(os.Symlink("/", at("root")), os.Symlink("/etc/passwd", at("file-link")), os.Mkdir(at("dir"), 0o700), os.Mkdir(at("sub"), 0o700),
		os.WriteFile(at("file"), nil, 0o600), unix.Mkfifo(at("fifo"), 0o600), unix.Mkfifo(at("sub/fifo"), 0o600), os.Symlink("fifo", at("fifo-link"))); err != nil {
		t.Fatal(err)
	}
	var pty string
	if master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0); err == nil {
		t.Cleanup(func() { _ = unix.Close(master) })
		n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
		if err == nil {
			err = unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		pty = fmt.Sprint("/dev/pts/", n)
	}
	for _, tt := range []struct {
		kind  syslogconf.Kind
		path  string
		allow []string // what there are rules for
	}{
		{syslogconf.File, at("file"), []string{at("file"), logs}},
		{syslogconf.File, at("file-link"), []string{logs}},
		{syslogconf.File, at("root"), []string{logs}},
		{syslogconf.File, at("root/etc/passwd"), nil},
		{syslogconf.File, at("dir"), []string{logs}},
		{syslogconf.File, at("fifo"), []string{logs}},
		{syslogconf.File, at("sub/absent"), []string{at("sub")}},
		{syslogconf.FIFO, at("fifo"), []string{at("fifo"), logs}},
		{syslogconf.FIFO, at("sub/fifo"), []string{at("sub/fifo"), at("sub")}},
		{syslogconf.FIFO, at("fifo-link"), []string{logs}},
		{syslogconf.FIFO, at("root"), []string{logs}},
		{syslogconf.FIFO, at("dir"), []string{logs}},
		{syslogconf.FIFO, at("file"), []string{logs}},
		{syslogconf.FIFO, "/dev/null", nil},
		{syslogconf.Terminal, at("root"), nil},
		{syslogconf.Terminal, at("file"), nil},
		{syslogconf.Terminal, at("dir"), nil},
		{syslogconf.Terminal, "/dev/zero", nil},
		{syslogconf.Terminal, "/dev", nil},
		{syslogconf.Terminal, pty, []string{pty}},
	} {
		if tt.path == "" {
			continue // there are no terminals here
		}
		below := func(path string) string {
			if strings.HasPrefix(path, "/dev/") {
				return "/dev"
			}
			return logs
		}
		c := &confinement{options: &Options{Below: below}}
		c.output(router.Route{Rules: []syslogconf.Rule{{Action: syslogconf.Action{Kind: tt.kind, Path: tt.path}}}})
		var got []string
		for _, rule := range c.Rules {
			name, err := os.Readlink(fmt.Sprint("/proc/self/fd/", rule.FD))
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, name)
		}
		if !slices.Equal(got, tt.allow) {
			t.Errorf("%v %s: rules for %q, want %q", tt.kind, tt.path, got, tt.allow)
		}
		c.close()
	}
}

// A receiver that no hook has started hides where the first process may look into
// others: its container's root could not find it otherwise.
func TestMayLook(t *testing.T) {
	for status, want := range map[string]bool{
		"Name:\tinit\nCapBnd:\t000001ffffffffff\n": true,
		"CapBnd:\t00000000a80425fb\n":              false, // of engines
		"CapBnd:\t00000000a80c25fb\n":              true,
		"CapBnd:\tx\n":                             true,
		"Name:\tCapBnd\n":                          true,
		"":                                         true,
	} {
		if got := mayLook(status); got != want {
			t.Errorf("mayLook(%q) = %t, want %t", status, got, want)
		}
	}
}
