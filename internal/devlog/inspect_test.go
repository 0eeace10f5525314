package devlog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"devlog/internal/rootfs"
)

// atRoot makes a container's root with an empty /dev and /run.
func atRoot(t *testing.T) (*Target, string) {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"dev", "run"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	target, err := AtRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.Close)
	return target, dir
}

// TestInspectHostileLink: no link that a neighbour makes in a shared /dev
// stops a container's start, and none that cannot be served is adopted.
func TestInspectHostileLink(t *testing.T) {
	for _, tt := range []struct {
		text, words string
		problem     error
		adoptable   bool // once the administrator lists it
	}{
		{"log", "link to log (/dev/log), which leads nowhere", unix.ELOOP, false},
		{"/file/x/log", "which leads nowhere", unix.ENOTDIR, false},
		{"/run/" + strings.Repeat("x", 256), "which leads nowhere", unix.ENAMETOOLONG, false},
		{"/run/none/", "which leads nowhere", unix.ENOTDIR, false},
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
		f, err := Inspect(target, DefaultSocket)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		f.Dev.Sharing = Shared // as it would be
		if p := NewPlan(f, Choice{Strategy: Auto}); adoptable(f) || p.Strategy != Symlink {
			t.Errorf("%s: not listed, adoptable is %t: %s", tt.text, adoptable(f), p)
		}
		if f, err = Inspect(target, DefaultSocket, tt.text); err != nil {
			t.Fatal(err)
		}
		f.Dev.Sharing = Shared
		if f.Log.Leads.Problem != tt.problem.Error() || !strings.Contains(f.LogInWords(), tt.words) {
			t.Errorf("%s: %q, %s; want %v, %s", tt.text, f.Log.Leads.Problem, f.LogInWords(), tt.problem, tt.words)
		}
		if got := adoptable(f); got != tt.adoptable {
			t.Errorf("%s: adoptable is %t: %+v", tt.text, got, f.Log.Leads)
		}
		want := Symlink
		if tt.adoptable {
			want = Adopt
		}
		if p := NewPlan(f, Choice{Strategy: Auto}); p.Strategy != want || p.Verdict != NeedsRepair {
			t.Errorf("%s: %s, want %s", tt.text, p, want)
		}
		if undone, err := Undo(target, DefaultSocket); undone || err != nil {
			t.Errorf("%s: undo: %t, %v", tt.text, undone, err)
		}
	}
}

// TestIsKnown: a link's own text has to name the place, whatever it leads to.
func TestIsKnown(t *testing.T) {
	places := []string{DefaultSocket, journalSocket, "/var/run/syslog-ng.sock"}
	for text, want := range map[string]bool{
		DefaultSocket: true, journalSocket: true, "/var/run/devlog/log": true, "//run/./devlog//log": true,
		"/run/syslog-ng.sock": true, "/var/run/syslog-ng.sock": true,
		"": false, "/": false, "run/devlog/log": false, "../run/devlog/log": false, "/data/../run/devlog/log": false,
		"/run/devlog": false, "/run/devlog/log/x": false, "/etc/nologin": false, "/var/run": false, "/dev/.devlog-host": false,
	} {
		if got := isKnown(text, places); got != want {
			t.Errorf("%q is known: %t", text, got)
		}
	}
}

// TestListenChanged: a daemon of the container that takes the private socket's
// name after the inspection keeps it, and the repair looks again.
func TestListenChanged(t *testing.T) {
	target, dir := atRoot(t)
	f, err := Inspect(target, "/run/log")
	if err != nil {
		t.Fatal(err)
	}
	p := NewPlan(f, Choice{Strategy: Auto})
	bindSocket(t, dir+"/run/log")
	at, err := target.root.Dir("/run")
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	theirs := idOf(t, at, "log")
	w := &work{target: target, facts: f, plan: p, at: at}
	if err := w.listen(p.Socket); !errors.Is(err, errChanged) {
		t.Errorf("error %v, want errChanged", err)
	}
	if got := idOf(t, at, "log"); got != theirs {
		t.Error("the daemon's socket is gone")
	}
}

// TestInspected: what may be replaced is what was found at the place that the
// plan is for.
func TestInspected(t *testing.T) {
	leads := PlaceFacts{Path: journal, Kind: rootfs.Socket, ID: rootfs.ID{Ino: 1}}
	socket := PlaceFacts{Path: DefaultSocket, Kind: rootfs.Socket, ID: rootfs.ID{Ino: 2}}
	for _, tt := range []struct {
		plan Plan
		want rootfs.Stat
	}{
		{Plan{Strategy: Adopt, Socket: journal}, rootfs.Stat{Kind: rootfs.Socket, ID: leads.ID}},
		{Plan{Strategy: Adopt, Socket: DefaultSocket}, rootfs.Stat{Kind: rootfs.Socket, ID: socket.ID}},
		{Plan{Strategy: Symlink, Socket: DefaultSocket}, rootfs.Stat{Kind: rootfs.Socket, ID: socket.ID}},
		{Plan{Strategy: Bind, Socket: DefaultSocket}, rootfs.Stat{Kind: rootfs.Socket, ID: socket.ID}},
		{Plan{Strategy: Bind, Socket: DefaultSocket, Steps: []Step{{Op: OpTmpfs}}}, rootfs.Stat{Kind: rootfs.Absent}},
	} {
		w := &work{facts: Facts{Log: LogFacts{Leads: leads}, Socket: socket}, plan: tt.plan}
		if got := w.inspected(); got != tt.want {
			t.Errorf("%+v: %+v, want %+v", tt.plan, got, tt.want)
		}
	}
}

// TestReportEscapes: a container's texts drive no terminal and forge no line.
func TestReportEscapes(t *testing.T) {
	const evil = "/run/\x1b]0;x\a\n\t\xff/log"
	f := Facts{Dev: shared, Log: link(evil, rootfs.Absent, false, Private), Socket: noSocket}
	f.Log.Leads.Problem = unix.ENOENT.Error()
	r := Result{Facts: f, Plan: NewPlan(f, Choice{Strategy: Auto})}
	var text strings.Builder
	if err := r.Report(&text); err != nil {
		t.Fatal(err)
	}
	for _, said := range []string{text.String(), f.LogInWords(), r.Plan.String(), Step{Op: OpListen, Path: evil}.String(), refuse(evil, "").String()} {
		if strings.ContainsAny(strings.ReplaceAll(said, "\n", ""), "\x1b\a\t") || !utf8.ValidString(said) || !strings.Contains(said, `/run/#033]0;x#007#012#011#377/log`) {
			t.Errorf("said %q", said)
		}
	}
	if lines := strings.Count(text.String(), "\n"); lines != 4 {
		t.Errorf("%d lines:\n%s", lines, &text)
	}
}

// TestInspectOtherDev: what a path leads to is not taken for what the handle of
// another /dev has: a live socket there would be replaced as a dead one.
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
	target, err := AtRoot(dir)
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
		{"another log", dev, log, otherLog, errChanged},
		{"nothing there", dev, log, rootfs.Stat{Kind: rootfs.Absent}, errChanged},
		{"another /dev", other, otherLog, otherLog, errChanged},
		{"a link in another /dev", other, link, log, errChanged},
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

// What runtimes make for one container is told from what a host may share.
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
