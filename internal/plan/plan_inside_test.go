package plan

import (
	"strings"
	"testing"

	"devlog/internal/names"
	"devlog/internal/rootfs"
)

// Inside a container, a dead name that may be the host's does not become a link if a
// mount is possible: on the host, syslog-ng and busybox syslogd do not start over a
// dangling link.
func TestPlanInside(t *testing.T) {
	const (
		spot = "bind: listen on /run/devlog/log; make /dev/log a socket where nobody listens; mount a link to /run/devlog/log over /dev/log, in this container only"
		bind = "bind: listen on /run/devlog/log; mount a link to /run/devlog/log over /dev/log, in this container only"
		to   = "symlink: listen on /run/devlog/log; make /dev/log a link to /run/devlog/log"
	)
	for _, tt := range []struct {
		state                        string
		dev                          DevFacts
		log                          LogFacts
		inside, mount, prepared, own bool
		want                         string
	}{
		{"absent", shared, name(rootfs.Absent, false, Shared), true, true, false, false, spot},
		{"stale", shared, name(rootfs.Socket, false, Shared), true, true, false, false, bind},
		{"link to a dead shared place", shared, link("/dev/x", rootfs.Absent, false, Shared), true, true, false, false, bind},
		{"absent, unknown", unknown, name(rootfs.Absent, false, Unknown), true, true, false, false, spot},
		{"absent, no mount", shared, name(rootfs.Absent, false, Shared), true, false, false, false, to},
		{"stale, no mount", unknown, name(rootfs.Socket, false, Unknown), true, false, false, false, to},
		{"a FIFO", shared, name(rootfs.FIFO, false, Shared), true, true, false, false, strings.ReplaceAll(spot, "make /dev/log a", "rename /dev/log to /dev/log.devlog-old; make /dev/log a")},
		{"a device, no mount", unknown, name(rootfs.Device, false, Unknown), true, false, false, false,
			strings.ReplaceAll(to, "make /dev/log", "rename /dev/log to /dev/log.devlog-old; make /dev/log")},
		{"absent, prepared", shared, name(rootfs.Absent, false, Shared), true, true, true, false, to},
		{"absent, private", private, name(rootfs.Absent, false, Private), true, true, false, false, to},
		{"absent, in a receiver's sandbox", shared, name(rootfs.Absent, false, Shared), false, false, false, false, to},
		{"absent, another socket", shared, name(rootfs.Absent, false, Shared), false, true, false, true, strings.ReplaceAll(spot, "/run/devlog/log", "/run/own/log")},
		{"absent on a read-only /dev", readOnly, name(rootfs.Absent, false, Shared), true, true, false, false,
			"refused: there is no /dev/log to mount a link over, and /dev cannot be written (read-only file system); hint: run devlog-hook repair --host on the host once"},
	} {
		f := Facts{Inside: tt.inside, MayMount: tt.mount, Dev: tt.dev, Log: tt.log, Socket: noSocket, HostSocket: hostSocket(tt.prepared, false)}
		if tt.own {
			f.Socket.Path, f.MayPrepare = "/run/own/log", true
		}
		p := New(f, Choice{Strategy: Auto})
		if got := p.String(); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.state, got, tt.want)
		}
		checkPlan(t, tt.state, f, p)
	}
}

// A dead socket that is mounted over /dev/log is covered if a mount is possible.
func TestPlanMounted(t *testing.T) {
	for _, tt := range []struct {
		dev      DevFacts
		mount    bool
		strategy Strategy
		want     Strategy
	}{
		{private, true, Auto, Bind}, {shared, true, Auto, Bind}, {unknown, true, Bind, Bind}, {readOnly, true, Auto, Bind},
		{private, false, Auto, ""}, {shared, true, Symlink, ""}, {shared, true, Adopt, ""},
	} {
		f := Facts{MayMount: tt.mount, MayPrepare: true, Dev: tt.dev, Log: name(rootfs.Socket, false, tt.dev.Sharing), Socket: noSocket, HostSocket: hostSocket(false, false)}
		f.Log.Mounted = true
		p := New(f, Choice{Strategy: tt.strategy})
		if p.Strategy != tt.want || (tt.want == "") != (p.Verdict == Refused) || tt.want != "" && (!p.Has(OpUnmount) || !p.Has(OpMount)) {
			t.Errorf("%+v: %s", tt, p)
		}
		checkPlan(t, "mounted", f, p)
	}
}

// A container's daemon that replaced a running host daemon's /dev/log loses it again: any
// repair that sees that it is not the host's daemon restores the link.
func TestPlanIntruded(t *testing.T) {
	const restore = "symlink: listen on /run/devlog/log; make /dev/log a link to /run/devlog/log"
	for _, tt := range []struct {
		state               string
		inside, here, mount bool
		want                string
	}{
		{"from the host", false, false, false, restore},
		{"from the host, may mount", false, false, true, restore},
		{"two daemons of the host's", false, true, false, "refused: /dev is the host's too, and somebody else listens on /dev/log; hint: " + RepairHost},
		{"from inside", true, false, false, "refused: /dev is the host's too, and somebody else listens on /dev/log; hint: " + RepairHost},
	} {
		f := Facts{Inside: tt.inside, MayMount: tt.mount, Dev: shared, Log: name(rootfs.Socket, true, Shared), Socket: noSocket, HostSocket: hostSocket(true, true)}
		f.Log.Target.Here, f.Log.Intruder = tt.here, !tt.here
		p := New(f, Choice{Strategy: Auto})
		if got := p.String(); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.state, got, tt.want)
		}
		checkPlan(t, tt.state, f, p)
	}
	f := Facts{Inside: true, Host: true, Dev: private, Log: name(rootfs.Socket, true, Private), HostSocket: hostSocket(true, true), Socket: noSocket}
	f.Log.Intruder = true
	if p := New(f, Choice{Strategy: Auto}); p.Verdict != Refused || f.syslogInWords() == "works" {
		t.Errorf("check on the host: %s, syslog() %s", p, f.syslogInWords())
	}
}

// If only root may enter a directory on the way, other users' messages are lost. The plan
// says so.
func TestPlanClosed(t *testing.T) {
	f := Facts{Dev: private, Log: link(names.DefaultSocket, rootfs.Socket, true, Private), Socket: noSocket, HostSocket: hostSocket(false, false)}
	f.Log.Target.Closed = "/run"
	p := New(f, Choice{Strategy: Auto})
	if p.Works() || p.Verdict != Healthy || f.syslogInWords() == "works" {
		t.Errorf("%s, syslog() %s", p, f.syslogInWords())
	}
	f.Log = name(rootfs.Absent, false, Private)
	f.Socket.Closed = "/run"
	if p := New(f, Choice{Strategy: Auto}); p.Verdict != NeedsRepair || !strings.Contains(p.Advice, "chmod 755 /run") {
		t.Errorf("repaired without a word: %+v", p)
	}
}
