package plan

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/names"
	"devlog/internal/rootfs"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// goldenDir has the golden files. Tests in test/ make the same states for real.
const goldenDir = "../../test/testdata/golden"

// why sets the reason for which no message arrives, as package inspect finds it.
func why(l LogFacts) LogFacts {
	switch {
	case l.Kind == "": // there is no /dev to look in
	case l.Target.Kind == rootfs.Absent:
		l.Target.Problem = unix.ENOENT.Error()
	case !l.Target.Live:
		l.Target.Problem = unix.ECONNREFUSED.Error()
	}
	return l
}

// TestGolden compares what check and repair --dry-run write, for every row of the
// design's table. Read the files: somebody who has never seen the program must understand
// them.
func TestGolden(t *testing.T) {
	const mount = true
	ours, theirs := Private, Shared
	for _, tt := range []struct {
		file    string
		dev     DevFacts
		log     LogFacts
		mount   bool
		prepare bool
		change  func(f *Facts, c *Choice)
	}{
		{"private-live", private, name(rootfs.Socket, true, ours), false, false, nil},
		{"private-link-to-live", private, link(journal, rootfs.Socket, true, ours), false, false, nil},
		{"private-absent", private, name(rootfs.Absent, false, ours), false, false, nil},
		{"private-stale", private, name(rootfs.Socket, false, ours), false, false, nil},
		{"private-dangling", private, link(journal, rootfs.Absent, false, ours), false, false, nil},
		{"private-link-in-words", private, link("../run/x", rootfs.Absent, false, ours), false, false,
			func(f *Facts, _ *Choice) { f.Log.Target.Path = "/run/x" }},
		{"any-directory", shared, name(rootfs.Directory, false, theirs), mount, false, nil},
		{"shared-moved-aside", shared, link(names.DefaultSocket, rootfs.Socket, true, ours), false, true, func(f *Facts, _ *Choice) { f.Log.Old = rootfs.Directory }},
		{"any-regular", private, name(rootfs.Regular, false, ours), false, false, nil},
		{"any-device", shared, name(rootfs.Device, false, theirs), false, false, nil},
		{"any-regular-forced", private, name(rootfs.Regular, false, ours), false, false, func(_ *Facts, c *Choice) { c.Force = true }},
		{"any-no-dev", DevFacts{Kind: rootfs.Absent}, LogFacts{}, false, false, nil},
		{"shared-adopt-dangling", shared, link(journal, rootfs.Absent, false, ours), false, false, nil},
		{"shared-adopt-stale", shared, link(journal, rootfs.Socket, false, ours), false, false, nil},
		{"shared-adopted", shared, link(journal, rootfs.Socket, true, ours), false, false, nil},
		{"shared-link-to-shared-live", shared, link("/dev/x", rootfs.Socket, true, theirs), mount, false, nil},
		{"shared-link-to-shared-dangling", shared, link("/dev/x", rootfs.Absent, false, theirs), false, false, nil},
		{"shared-link-to-nowhere", shared, blocked("log", unix.ELOOP.Error()), false, false,
			func(f *Facts, _ *Choice) { f.Log.Target.Path, f.Log.Target.Problem = names.LogPath, unix.ELOOP.Error() }},
		{"shared-absent", shared, name(rootfs.Absent, false, theirs), false, false, nil},
		{"shared-stale", shared, name(rootfs.Socket, false, theirs), false, false, nil},
		{"shared-live-prepared", shared, name(rootfs.Socket, true, theirs), false, true, func(f *Facts, _ *Choice) { f.Log.Target.Here = true }},
		{"shared-live-mount", shared, name(rootfs.Socket, true, theirs), mount, false, nil},
		{"shared-live-neither", shared, name(rootfs.Socket, true, theirs), false, false, nil},
		{"unknown-live", unknown, name(rootfs.Socket, true, Unknown), false, false, nil},
		{"unwritable-adopt", readOnly, link(journal, rootfs.Absent, false, ours), false, false, nil},
		{"unwritable-live-mount", readOnly, name(rootfs.Socket, true, theirs), mount, false, nil},
		{"unwritable-live-neither", readOnly, name(rootfs.Socket, true, theirs), false, false, nil},
		{"unwritable-absent", readOnly, name(rootfs.Absent, false, theirs), mount, false, nil},
		{"socket-not-private", shared, name(rootfs.Absent, false, theirs), mount, false,
			func(f *Facts, _ *Choice) { f.Socket.Sharing, f.Socket.MountAt = Shared, "/run/devlog" }},
		{"socket-not-private-no-mount", shared, name(rootfs.Absent, false, theirs), false, false,
			func(f *Facts, _ *Choice) { f.Socket.Sharing, f.Socket.MountAt = Shared, "/run/devlog" }},
		{"own-daemon", shared, name(rootfs.Absent, false, theirs), false, false, func(_ *Facts, c *Choice) { c.NoReceiver = true }},
	} {
		t.Run(tt.file, func(t *testing.T) {
			f := Facts{MayMount: tt.mount, MayPrepare: true, HostSocket: hostSocket(tt.prepare, false), Dev: tt.dev, Log: why(tt.log), Socket: noSocket}
			c := Choice{Strategy: Auto}
			if tt.change != nil {
				tt.change(&f, &c)
			}
			golden(t, tt.file, f, New(f, c))
		})
	}
	host := DevFacts{Kind: rootfs.Directory, FSType: "devtmpfs", Sharing: Private}
	for file, log := range map[string]LogFacts{
		"host-live":     name(rootfs.Socket, true, ours),
		"host-absent":   name(rootfs.Absent, false, ours),
		"host-journal":  link(journal, rootfs.Socket, true, ours),
		"host-prepared": link(names.DefaultSocket, rootfs.Socket, true, ours),
	} {
		t.Run(file, func(t *testing.T) {
			f := Facts{Inside: true, Host: true, HostSocket: hostSocket(file == "host-prepared", true), Dev: host, Log: why(log), Socket: noSocket}
			if file == "host-prepared" {
				f.Log.Target.Path = "/dev/" + names.HostSocket
			}
			golden(t, file, f, NewHost(f, Choice{Strategy: Auto}))
		})
	}
}

// golden compares the report to a file.
func golden(t *testing.T, file string, f Facts, p Plan) {
	t.Helper()
	var text strings.Builder
	fmt.Fprintln(&text, "check:")
	if err := Report(&text, f, p, "", ""); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(&text, "\nrepair --dry-run:")
	switch p.Verdict {
	case Refused:
		fmt.Fprintln(&text, &Refusal{Reason: p.Reason, Advice: p.Advice})
	case Healthy:
		fmt.Fprintln(&text, p)
	}
	for i, s := range p.Steps {
		fmt.Fprintf(&text, "%d. %s\n", i+1, s)
	}
	path := filepath.Join(goldenDir, file+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; make it with go test ./internal/plan -run TestGolden -update", err)
	}
	if got := text.String(); got != string(want) {
		t.Errorf("%s: said\n%s\nwant\n%s", file, got, want)
	}
	if strings.Contains(text.String(), "  \n") || strings.Contains(text.String(), " \n") {
		t.Errorf("%s: a space at a line's end:\n%s", file, &text)
	}
}
