package plan

import (
	"slices"
	"testing"

	"devlog/internal/names"
	"devlog/internal/rootfs"
)

func TestPlanSocket(t *testing.T) {
	absent := name(rootfs.Absent, false, Shared)
	for _, tt := range []struct {
		state  string
		socket PathFacts
		want   string
	}{
		{"somebody of this container listens already", PathFacts{Path: names.DefaultSocket, Kind: rootfs.Socket, Live: true, Sharing: Private},
			"symlink: start a watcher of /dev/log; make /dev/log a link to /run/devlog/log"},
		{"a stale socket", PathFacts{Path: names.DefaultSocket, Kind: rootfs.Socket, Sharing: Private},
			"symlink: listen on /run/devlog/log; make /dev/log a link to /run/devlog/log"},
		{"a place of the host's", PathFacts{Path: names.DefaultSocket, Kind: rootfs.Absent, Sharing: Shared, MountAt: "/run/devlog"},
			"symlink: mount a tmpfs at /run/devlog, in this container only; listen on /run/devlog/log; make /dev/log a link to /run/devlog/log"},
		{"another container's", PathFacts{Path: names.DefaultSocket, Kind: rootfs.Socket, Live: true, Foreign: true, Sharing: Private, MountAt: "/run/devlog"},
			"symlink: mount a tmpfs at /run/devlog, in this container only; listen on /run/devlog/log; make /dev/log a link to /run/devlog/log"},
		{"read-only", PathFacts{Path: names.DefaultSocket, Kind: rootfs.Absent, Sharing: Private, Unwritable: "read-only file system", MountAt: "/run"},
			"symlink: mount a tmpfs at /run, in this container only; listen on /run/devlog/log; make /dev/log a link to /run/devlog/log"},
		{"read-only, nothing can be hidden", PathFacts{Path: names.DefaultSocket, Kind: rootfs.Absent, Sharing: Private, Unwritable: "read-only file system"},
			"refused: /run/devlog/log cannot be made (read-only file system); hint: mount a tmpfs of the container's own at /run"},
		{"a directory", PathFacts{Path: names.DefaultSocket, Kind: rootfs.Directory, Sharing: Private},
			"refused: /run/devlog/log is a directory; hint: remove it, or name another place with --socket"},
	} {
		f := Facts{Dev: shared, Log: absent, Socket: tt.socket, MayMount: true, HostSocket: hostSocket(true, false)}
		if got := New(f, Choice{Strategy: Auto}).String(); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.state, got, tt.want)
		}
	}
}

// A container with another private socket does not get the link that a prepared host
// shares with all containers.
func TestPlanElsewhere(t *testing.T) {
	socket := PathFacts{Path: "/run/own/log", Kind: rootfs.Absent, Sharing: Private}
	for _, tt := range []struct {
		state string
		log   LogFacts
		mount bool
		want  string
	}{
		{"absent", name(rootfs.Absent, false, Shared), true, "refused"},
		{"stale, may mount", name(rootfs.Socket, false, Shared), true,
			"bind: listen on /run/own/log; mount a link to /run/own/log over /dev/log, in this container only"},
		{"stale", name(rootfs.Socket, false, Shared), false, "refused"},
		{"re-bound, may mount", name(rootfs.Socket, true, Shared), true,
			"bind: listen on /run/own/log; mount a link to /run/own/log over /dev/log, in this container only"},
		{"re-bound", name(rootfs.Socket, true, Shared), false, "refused"},
	} {
		f := Facts{Dev: shared, Log: tt.log, Socket: socket, HostSocket: hostSocket(true, false), MayMount: tt.mount}
		p := New(f, Choice{Strategy: Auto})
		if got := p.String(); got != tt.want && (tt.want != "refused" || p.Verdict != Refused) {
			t.Errorf("%s:\n got %s\nwant %s", tt.state, got, tt.want)
		}
	}
}

// The host can see whether the daemon that bound a new /dev/log is its own: a neighbour's
// socket never becomes the host's.
func TestPlanRebound(t *testing.T) {
	for _, tt := range []struct {
		state        string
		inside, here bool
		strategy     Strategy
	}{
		{"from the host, the host's", false, true, Symlink},
		{"from the host, another's", false, false, Bind},
		{"from inside nobody can tell", true, false, Symlink},
	} {
		f := Facts{Inside: tt.inside, Dev: shared, Log: name(rootfs.Socket, true, Shared), Socket: noSocket,
			HostSocket: hostSocket(true, false), MayMount: true}
		f.Log.Target.Here = tt.here
		if p := New(f, Choice{Strategy: Auto}); p.Strategy != tt.strategy {
			t.Errorf("%s: %s, want %s", tt.state, p, tt.strategy)
		}
	}
	// On the host, its own present socket has precedence over an old one.
	f := Facts{Inside: true, Host: true, Dev: private, Log: name(rootfs.Socket, true, Private), HostSocket: hostSocket(true, true)}
	if p := NewHost(f, Choice{}); p.Verdict != Refused {
		t.Errorf("a socket of which it is not seen whose it is becomes the host's, or goes: %s", p)
	}
	f.Log.Intruder = true
	if p := NewHost(f, Choice{}); p.Has(OpPreserve) || !p.Has(OpLink) || p.Advice == "" {
		t.Errorf("another's socket becomes the host's, or stays: %+v", p)
	}
	f.Log.Target.Here, f.Log.Intruder = true, false
	if p := NewHost(f, Choice{}); !p.Has(OpPreserve) {
		t.Errorf("the host's daemon is not kept: %s", p)
	}
}

// A link that dangles here may work for others. Where that can be seen, it is left alone.
func TestPlanElsewhereLive(t *testing.T) {
	log := link("/run/x/log", rootfs.Absent, false, Unknown)
	log.Target.Unwritable = "not a directory"
	f := Facts{Dev: shared, Log: log, Socket: noSocket, HostSocket: hostSocket(false, false)}
	for _, f.Log.Known = range []bool{false, true} {
		if p := New(f, Choice{Strategy: Auto}); p.Verdict != Refused || p.Advice == "" {
			t.Errorf("nothing may be mounted: %s", p)
		}
		f.MayMount = true
		if p := New(f, Choice{Strategy: Auto}); p.Strategy != Bind {
			t.Errorf("may mount: %s", p)
		}
		f.MayPrepare = true
		if p := New(f, Choice{Strategy: Auto}); p.Strategy != Symlink {
			t.Errorf("it is of no use on the host: %s", p)
		}
		f.Log.OnHost = true
		if p := New(f, Choice{Strategy: Auto}); p.Strategy != Bind {
			t.Errorf("somebody listens there on the host: %s", p)
		}
		f.Log.OnHost, f.MayMount, f.MayPrepare = false, false, false
	}
	f.Dev = private
	if p := New(f, Choice{Strategy: Auto}); p.Strategy != Symlink {
		t.Errorf("/dev is the container's own: %s", p)
	}
}

// On a prepared host whose daemon has ended there is nothing to repair, but something to
// do.
func TestPlanAwaitsDaemon(t *testing.T) {
	f := Facts{Inside: true, Host: true, Dev: private, Log: link("/run/devlog/log", rootfs.Socket, false, Private), HostSocket: hostSocket(true, false)}
	f.Log.Target.Path = "/dev/.devlog-host"
	for what, p := range map[string]Plan{"check": New(f, Choice{Strategy: Auto}), "check --host": NewHost(f, Choice{})} {
		if p.String() != "nothing to do here; hint: start the host's syslog daemon, or restart it if it runs" || p.Works() {
			t.Errorf("%s: %s, works: %t", what, p, p.Works())
		}
	}
	f.HostSocket = hostSocket(false, false)
	if p := New(f, Choice{Strategy: Auto}); p.String() != "nothing to do here; hint: run devlog-hook repair --host, then restart the host's syslog daemon" {
		t.Errorf("without its name: %s", p)
	}
	if p := NewHost(f, Choice{Strategy: Auto}); p.Verdict != NeedsRepair || p.Advice != restartDaemon || !p.Has(OpHostLink) {
		t.Errorf("check --host without its name: %+v", p)
	}
	f.HostSocket = hostSocket(true, true)
	f.Log.Target.Live = true
	if p := NewHost(f, Choice{}); !p.Works() {
		t.Errorf("with the daemon: %s", p)
	}
	f.Log = name(rootfs.Absent, false, Private)
	if p := NewHost(f, Choice{}); p.Verdict != NeedsRepair || p.Advice == "" {
		t.Errorf("prepared without a daemon: %+v", p)
	}
}

// Where systemd's journal receives on a host, and no daemon of its own, /dev/log points to it again.
func TestPlanJournalCutOff(t *testing.T) {
	cut := Facts{Inside: true, Host: true, Journal: true, Dev: private, Log: link("/run/devlog/log", rootfs.Absent, false, Private), HostSocket: hostSocket(false, false)}
	cut.Log.Target.Path = "/dev/.devlog-host"
	removed := cut
	removed.Log = LogFacts{Kind: rootfs.Absent, Target: PathFacts{Path: "/dev/log", Kind: rootfs.Absent, Sharing: Private}}
	for what, f := range map[string]Facts{"a link to nothing": cut, "removed": removed} {
		p := NewHost(f, Choice{Strategy: Auto})
		if p.Verdict != NeedsRepair || !p.Has(OpLink) || p.Has(OpHostLink) || p.Steps[len(p.Steps)-1].Text != "/run/systemd/journal/dev-log" {
			t.Errorf("%s: %s", what, p)
		}
		f.Journal = false
		if p := NewHost(f, Choice{Strategy: Auto}); !p.Has(OpHostLink) {
			t.Errorf("%s, without a journal: %s", what, p)
		}
	}
	if p := New(cut, Choice{Strategy: Auto}); p.Advice != RepairHost {
		t.Errorf("check: %s", p)
	}
	cut.HostSocket = hostSocket(true, false) // a repair has made the name, for a daemon that would need it
	if p := NewHost(cut, Choice{Strategy: Auto}); p.Verdict != NeedsRepair || !p.Has(OpLink) {
		t.Errorf("with a name for a daemon: %s", p)
	}
	cut.HostSocket, cut.Log.Target.Live = hostSocket(true, true), true
	if p := NewHost(cut, Choice{Strategy: Auto}); p.Verdict != Healthy {
		t.Errorf("a prepared host whose daemon runs: %s", p)
	}
}

// A container's repair makes /dev/log the link again that others rely on, and plans for the
// container as if it had always been that.
func TestPlanFormer(t *testing.T) {
	f := Facts{Dev: shared, Log: name(rootfs.Absent, false, Shared), Socket: PathFacts{Path: names.DefaultSocket, Kind: rootfs.Absent, Sharing: Private},
		HostSocket: hostSocket(false, false), MayPrepare: true, Former: link(journal, rootfs.Absent, false, Private)}
	f.Former.Known = true
	restore := Step{Op: OpLink, Path: names.LogPath, Text: journal}
	last := func(p Plan) Step { return p.Steps[len(p.Steps)-1] }
	p := New(f, Choice{Strategy: Auto})
	if p.Strategy != Symlink || last(p) != restore || p.Pointed() != journal || !p.Has(OpStart) || p.Has(OpHostLink) || !p.Restores(f) {
		t.Errorf("a new container: %s", p)
	}
	repaired := f
	repaired.Former.Target.Live, repaired.Watcher = true, true
	p = New(repaired, Choice{Strategy: Auto})
	if want := append(prepare(names.DefaultSocket), restore); p.Verdict != NeedsRepair || !slices.Equal(p.Steps, want) {
		t.Errorf("a repaired container: %s", p)
	}
	bound := f
	bound.MayMount = true
	p = New(bound, Choice{Strategy: Bind})
	if p.Strategy != Bind || last(p).Op != OpMount || p.Steps[len(p.Steps)-2] != restore || p.Has(OpPlaceholder) {
		t.Errorf("bind: %s", p)
	}
	for what, change := range map[string]func(f *Facts, c *Choice){
		"/dev cannot be written":           func(f *Facts, _ *Choice) { f.Dev.Unwritable, f.MayMount = "read-only", true },
		"the user wants another link":      func(_ *Facts, c *Choice) { c.Strategy = Symlink },
		"nothing can listen where it goes": func(f *Facts, _ *Choice) { f.Former.Target.Kind = rootfs.Directory; f.Former.Target.Sharing = Shared },
	} {
		f, c := f, Choice{Strategy: Auto}
		change(&f, &c)
		if p := New(f, c); p.Restores(f) {
			t.Errorf("%s: %s", what, p)
		}
	}
}
