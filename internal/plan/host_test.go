package plan

import (
	"testing"

	"devlog/internal/names"
	"devlog/internal/rootfs"
)

// On a prepared host the host's daemon uses /dev/log too: a link to another path is
// replaced for all, unless that daemon has ended.
func TestPlanStrays(t *testing.T) {
	astray := link("/run/elsewhere/log", rootfs.Absent, false, Private)
	for _, tt := range []struct {
		state           string
		live            bool
		container, host string
	}{
		{"the host's daemon lives", true,
			"symlink: listen on /run/devlog/log; make /dev/log a link to /run/devlog/log",
			"symlink: make /run/devlog/log a link to /dev/.devlog-host on the host; make /dev/log a link to /run/devlog/log"},
		{"the host's daemon has ended", false,
			"symlink: listen on /run/devlog/log; make /dev/log a link to /run/devlog/log",
			"symlink: make /run/devlog/log a link to /dev/.devlog-host on the host; make /dev/log a link to /run/devlog/log"},
	} {
		f := Facts{Dev: shared, Log: astray, Socket: noSocket, HostSocket: hostSocket(true, tt.live)}
		if got := New(f, Choice{Strategy: Auto}).String(); got != tt.container {
			t.Errorf("%s, container:\n got %s\nwant %s", tt.state, got, tt.container)
		}
		if got := NewHost(f, Choice{Strategy: Auto}).String(); got != tt.host {
			t.Errorf("%s, host:\n got %s\nwant %s", tt.state, got, tt.host)
		}
	}
}

// On the host a dangling link is of no use to containers.
func TestPlanHostBlocked(t *testing.T) {
	f := Facts{Inside: true, Host: true, Dev: private, Log: blocked("log", "too many levels of symbolic links"), HostSocket: hostSocket(false, false)}
	if p := NewHost(f, Choice{}); !p.Has(OpLink) {
		t.Errorf("the link stays: %s", p)
	}
}

func TestPlanNotHost(t *testing.T) {
	f := Facts{Inside: true, NotHost: "this is a container", Dev: shared, Log: name(rootfs.Absent, false, Shared), HostSocket: hostSocket(false, false)}
	if p := NewHost(f, Choice{}); p.Verdict != Refused {
		t.Errorf("a container is prepared as a host: %s", p)
	}
	if p := NewHost(f, Choice{Force: true}); p.Verdict != NeedsRepair {
		t.Errorf("forced: %s", p)
	}
}

// A host gets a watcher if one is wanted and none runs.
func TestPlanHostKeep(t *testing.T) {
	prepared := link(names.DefaultSocket, rootfs.Socket, true, Private)
	prepared.Target.Path = "/dev/" + names.HostSocket
	const keep = "start a watcher of /dev/log; "
	for _, tt := range []struct {
		state   string
		log     LogFacts
		watcher bool
		want    string
	}{
		{"live", name(rootfs.Socket, true, Private), false, "symlink: " + keep + "make /run/devlog/log a link to /dev/.devlog-host on the host; " +
			"make /dev/log a link to /run/devlog/log, and keep the host's socket as /dev/.devlog-host"},
		{"prepared", prepared, false, "adopt: " + keep + "nothing in /dev changes"},
		{"prepared, kept", prepared, true, "nothing to do"},
		{"absent, kept", name(rootfs.Absent, false, Private), true, "symlink: make /run/devlog/log a link to /dev/.devlog-host on the host; " +
			"make /dev/log a link to /run/devlog/log"},
		{"a directory", name(rootfs.Directory, false, Private), false, "symlink: " + keep + "make /run/devlog/log a link to /dev/.devlog-host on the host; " +
			"rename /dev/log to /dev/log.devlog-old; make /dev/log a link to /run/devlog/log"},
	} {
		live := tt.log.Kind == rootfs.Link
		f := Facts{Inside: true, Host: true, Watcher: tt.watcher, Dev: private, Log: tt.log, Socket: noSocket, HostSocket: hostSocket(live, live)}
		p := NewHost(f, Choice{Strategy: Auto, Watch: true})
		if got := p.String(); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.state, got, tt.want)
		}
		checkPlan(t, tt.state, f, p)
		if p.Has(OpWatch) && p.Steps[0].Op != OpPrepare {
			t.Errorf("%s: the watcher is started before the record: %+v", tt.state, p.Steps)
		}
	}
}
