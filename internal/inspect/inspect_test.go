package inspect

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/devdir"
	"devlog/internal/names"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
	"devlog/internal/rootfs/rootfstest"
	"devlog/internal/target"
)

// atRoot makes a container's root with an empty /dev and /run.
func atRoot(t *testing.T) (*target.Target, string) {
	t.Helper()
	dir := rootfstest.Root(t)
	target, err := target.AtRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.Close)
	return target, dir
}

// No link that a neighbour makes in a shared /dev stops a container's start. A link that
// cannot work is not adopted.
func TestInspectHostileLink(t *testing.T) {
	for _, tt := range []struct {
		text, words string
		problem     error
		adoptable   bool // once the administrator lists it
	}{
		{"log", "link to log (/dev/log), which points nowhere", unix.ELOOP, false},
		{"/file/x/log", "which points nowhere", unix.ENOTDIR, false},
		{"/run/" + strings.Repeat("x", 256), "which points nowhere", unix.ENAMETOOLONG, false},
		{"/run/none/", "which points nowhere", unix.ENOTDIR, false},
		{"/run/none/../log", "which does not exist here", unix.ENOENT, false},
		{"/run/1/2/3/4/5/6/7/8/log", "which does not exist here", unix.ENOENT, true},
		{"/run/1/2/3/4/5/6/7/8/9/log", "which does not exist here", unix.ENOENT, false},
		{"/run/" + strings.Repeat("x", rootfs.MaxSocketPath-len("/run/")), "which does not exist here", unix.ENOENT, true},
		{"/run/" + strings.Repeat("x", rootfs.MaxSocketPath-len("/run/")+1), "which does not exist here", unix.ENOENT, false},
	} {
		target, dir := atRoot(t)
		if err := errors.Join(os.WriteFile(dir+"/file", nil, 0o600), os.Symlink(tt.text, dir+"/dev/log")); err != nil {
			t.Fatal(err)
		}
		f, err := Facts(target, names.DefaultSocket, nil)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		f.Dev.Sharing = plan.Shared // as it would be
		if p := plan.New(f, plan.Choice{Strategy: plan.Auto}); p.Strategy != plan.Symlink {
			t.Errorf("%s: not listed: %s", tt.text, p)
		}
		if f, err = Facts(target, names.DefaultSocket, nil, tt.text); err != nil {
			t.Fatal(err)
		}
		f.Dev.Sharing = plan.Shared
		if f.Log.Target.Problem != tt.problem.Error() || !strings.Contains(f.LogInWords(), tt.words) {
			t.Errorf("%s: %q, %s; want %v, %s", tt.text, f.Log.Target.Problem, f.LogInWords(), tt.problem, tt.words)
		}
		want := plan.Symlink
		if tt.adoptable {
			want = plan.Adopt
		}
		if p := plan.New(f, plan.Choice{Strategy: plan.Auto}); p.Strategy != want || p.Verdict != plan.NeedsRepair {
			t.Errorf("%s: %s, want %s", tt.text, p, want)
		}
	}
}

// A path's target is not mistaken for a file in the open /dev: otherwise a live socket would be
// replaced as a stale one.
func TestInspectOtherDev(t *testing.T) {
	dir := t.TempDir()
	make := func(name string) (dev *rootfs.Dir, log rootfs.Stat) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(dir+"/"+name, 0o755), os.WriteFile(dir+"/"+name+"/log", nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		root, err := rootfs.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if dev, err = root.Dir("/" + name); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { dev.Close() })
		if log, err = dev.Lstat("log"); err != nil {
			t.Fatal(err)
		}
		return dev, log
	}
	dev, log := make("dev")
	other, otherLog := make("other")
	target, err := target.AtRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	link := rootfs.Stat{Kind: rootfs.Link}
	for _, tt := range []struct {
		name   string
		held   *rootfs.Dir
		log, p rootfs.Stat
		want   error
	}{
		{"the same", dev, log, log, nil},
		{"a link", dev, link, otherLog, nil},
		{"nothing", dev, rootfs.Stat{Kind: rootfs.Absent}, rootfs.Stat{Kind: rootfs.Absent}, nil},
		{"another log", dev, log, otherLog, devdir.ErrChanged},
		{"nothing there", dev, log, rootfs.Stat{Kind: rootfs.Absent}, devdir.ErrChanged},
		{"another /dev", other, otherLog, otherLog, devdir.ErrChanged},
		{"a link in another /dev", other, link, log, devdir.ErrChanged},
	} {
		st, err := tt.held.Self()
		if err != nil {
			t.Fatal(err)
		}
		i := inspection{target: target, dev: tt.held, devStat: st}
		if err := i.reached(tt.log, &rootfs.Place{Stat: tt.p}); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// A /dev that a runtime makes for one container differs from one that a host may share.
func TestRuntimesDev(t *testing.T) {
	for options, want := range map[string]bool{
		"rw,size=65536k,mode=755":            true, // OCI: runc spec, podman, Docker
		"rw,size=65536k,mode=755,inode64":    true,
		"rw,size=492k,mode=755,inode64":      true, // LXC
		"rw,mode=755":                        false,
		"rw,size=10240k,mode=755":            false, // udev's on a host without devtmpfs
		"rw,size=65536k":                     false,
		"rw,size=65536kb,mode=7555":          false,
		"rw,size=4065536k,mode=755":          false,
		"rw,size=65536k,nr_inodes=1,mode=75": false,
	} {
		if got := runtimesDev("tmpfs", options); got != want {
			t.Errorf("%s: %t", options, got)
		}
	}
	if runtimesDev("devtmpfs", "rw,size=65536k,mode=755") {
		t.Error("a devtmpfs is one for the whole kernel")
	}
}

// A mount may hide notes.
func TestNotesHideNothing(t *testing.T) {
	dir := t.TempDir()
	root, err := rootfs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, tt := range []struct {
		name string
		want bool
	}{{"log", true}, {"c1" + names.NoteSuffix, true}, {"precious", false}} {
		if err := os.WriteFile(filepath.Join(dir, tt.name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := root.Dir("/")
		if err != nil {
			t.Fatal(err)
		}
		if got := (&inspection{}).hidesNothing(d, "log"); got != tt.want {
			t.Errorf("with %s: %t", tt.name, got)
		}
		d.Close()
	}
}
