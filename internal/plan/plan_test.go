package plan

import (
	"strings"
	"testing"

	"devlog/internal/names"
	"devlog/internal/rootfs"
)

// The parts of the table's facts.
var (
	private  = DevFacts{Kind: rootfs.Directory, FSType: "tmpfs", Sharing: Private}
	shared   = DevFacts{Kind: rootfs.Directory, FSType: "devtmpfs", Sharing: Shared}
	unknown  = DevFacts{Kind: rootfs.Directory, FSType: "tmpfs", Sharing: Unknown}
	readOnly = DevFacts{Kind: rootfs.Directory, FSType: "devtmpfs", Sharing: Shared, Unwritable: "read-only file system"}

	noSocket = PathFacts{Path: names.DefaultSocket, Kind: rootfs.Absent, Sharing: Private}
)

func name(kind rootfs.Kind, live bool, s Sharing) LogFacts {
	return LogFacts{Kind: kind, Target: PathFacts{Path: names.LogPath, Kind: kind, Live: live, Sharing: s}}
}

func link(to string, kind rootfs.Kind, live bool, s Sharing) LogFacts {
	return LogFacts{Kind: rootfs.Link, Link: to, Known: IsKnown(to, []string{names.DefaultSocket, journal}), Target: PathFacts{Path: to, Kind: kind, Live: live, Sharing: s}}
}

// blocked is a link that cannot be followed.
func blocked(to, why string) LogFacts {
	l := link(to, rootfs.Absent, false, Unknown)
	l.Target.Problem, l.Target.Unwritable = why, why
	return l
}

// hostSocket is the socket of a prepared host; its daemon may have ended.
func hostSocket(prepared, live bool) SocketFacts {
	if !prepared {
		return SocketFacts{Kind: rootfs.Absent}
	}
	return SocketFacts{Kind: rootfs.Socket, ID: rootfs.ID{Ino: 7}, Live: live}
}

const journal = "/run/systemd/journal/dev-log"

// TestPlan is the design's table: the plan for every state of /dev/log.
func TestPlan(t *testing.T) {
	const (
		symlink  = "symlink: listen on /run/devlog/log; make /dev/log a link to /run/devlog/log"
		prepare  = "symlink: listen on /run/devlog/log; make /run/devlog/log a link to /dev/.devlog-host on the host; make /dev/log a link to /run/devlog/log"
		adopt    = "adopt: listen on /run/devlog/log; make /run/systemd/journal/dev-log a link to /run/devlog/log; nothing in /dev changes"
		bind     = "bind: listen on /run/devlog/log; mount a link to /run/devlog/log over /dev/log, in this container only"
		preserve = "symlink: listen on /run/devlog/log; make /dev/log a link to /run/devlog/log, and keep the host's socket as /dev/.devlog-host"
		nothing  = "nothing to do"
	)
	mount, host := true, true
	for _, tt := range []struct {
		state          string
		dev            DevFacts
		log            LogFacts
		mount, prepare bool
		choice         Choice
		want           string // the plan in words; "refused" alone stands for any
	}{
		// private
		{"private, live socket", private, name(rootfs.Socket, true, Private), mount, false, Choice{}, nothing},
		{"private, link to a live socket", private, link(journal, rootfs.Socket, true, Private), mount, false, Choice{}, nothing},
		{"private, absent", private, name(rootfs.Absent, false, Private), false, false, Choice{}, symlink},
		{"private, stale socket", private, name(rootfs.Socket, false, Private), false, false, Choice{}, symlink},
		{"private, dangling link", private, link(journal, rootfs.Absent, false, Private), false, false, Choice{}, symlink},
		{"private, link to a stale socket", private, link(journal, rootfs.Socket, false, Private), false, false, Choice{}, symlink},
		{"private, link to the private socket", private, link(names.DefaultSocket, rootfs.Absent, false, Private), false, false, Choice{},
			"adopt: listen on /run/devlog/log; nothing in /dev changes"},
		// any
		{"a directory", private, name(rootfs.Directory, false, Private), mount, false, Choice{}, "refused"},
		{"a directory, shared", shared, name(rootfs.Directory, false, Shared), false, false, Choice{},
			"symlink: listen on /run/devlog/log; make /run/devlog/log a link to /dev/.devlog-host on the host; " +
				"rename /dev/log to /dev/log.devlog-old; make /dev/log a link to /run/devlog/log"},
		{"a FIFO, shared, host prepared", shared, name(rootfs.FIFO, false, Shared), mount, host, Choice{},
			"symlink: listen on /run/devlog/log; rename /dev/log to /dev/log.devlog-old; make /dev/log a link to /run/devlog/log"},
		{"a directory on a read-only /dev", readOnly, name(rootfs.Directory, false, Shared), mount, false, Choice{}, "refused"},
		{"a regular file", private, name(rootfs.Regular, false, Private), mount, false, Choice{}, "refused"},
		{"a device", private, name(rootfs.Device, false, Private), mount, false, Choice{}, "refused"},
		{"a directory, forced", private, name(rootfs.Directory, false, Private), mount, false, Choice{Force: true},
			"symlink: listen on /run/devlog/log; rename /dev/log to /dev/log.devlog-old; make /dev/log a link to /run/devlog/log"},
		{"a regular file, forced", shared, name(rootfs.Regular, false, Shared), mount, false, Choice{Force: true},
			"symlink: listen on /run/devlog/log; make /run/devlog/log a link to /dev/.devlog-host on the host; " +
				"rename /dev/log to /dev/log.devlog-old; make /dev/log a link to /run/devlog/log"},
		{"a device on a read-only /dev, forced", readOnly, name(rootfs.Device, false, Shared), mount, false, Choice{Force: true}, "refused"},
		{"a link to a directory", private, link("/run", rootfs.Directory, false, Private), mount, false, Choice{}, "refused"},
		{"a link to a directory, shared", shared, link("/etc", rootfs.Directory, false, Private), false, false, Choice{}, prepare},
		{"no /dev", DevFacts{Kind: rootfs.Absent}, name(rootfs.Absent, false, Private), mount, false, Choice{}, "refused"},
		// shared
		{"shared, dangling link to a private place", shared, link(journal, rootfs.Absent, false, Private), false, false, Choice{}, adopt},
		{"shared, link to a stale private socket", shared, link(journal, rootfs.Socket, false, Private), false, false, Choice{}, adopt},
		{"shared, link to a live private socket", shared, link(journal, rootfs.Socket, true, Private), false, false, Choice{}, nothing},
		{"shared, dangling link to an unknown place", shared, link("/etc/nologin", rootfs.Absent, false, Private), mount, false, Choice{}, prepare},
		{"shared, link to an unknown stale socket, host prepared", shared, link("/data/x.sock", rootfs.Socket, false, Private), mount, host, Choice{}, symlink},
		{"shared, link to an unknown live socket", shared, link("/data/x.sock", rootfs.Socket, true, Private), mount, false, Choice{}, bind},
		{"shared, link to an unknown live socket, no mount", shared, link("/data/x.sock", rootfs.Socket, true, Private), false, false, Choice{}, "refused"},
		{"shared, unknown place, adopt", shared, link("/etc/nologin", rootfs.Absent, false, Private), mount, false, Choice{Strategy: Adopt}, "refused"},
		{"shared, dangling link to a shared place", shared, link("/dev/x", rootfs.Absent, false, Shared), false, false, Choice{}, prepare},
		{"shared, link to a live shared socket", shared, link("/dev/x", rootfs.Socket, true, Shared), mount, false, Choice{}, bind},
		{"shared, link to a live shared socket, no mount", shared, link("/dev/x", rootfs.Socket, true, Shared), false, false, Choice{}, "refused"},
		{"shared, absent", shared, name(rootfs.Absent, false, Shared), mount, false, Choice{}, prepare},
		{"shared, stale socket", shared, name(rootfs.Socket, false, Shared), mount, false, Choice{}, prepare},
		{"shared, absent, host prepared", shared, name(rootfs.Absent, false, Shared), mount, host, Choice{}, symlink},
		{"shared, live, host prepared", shared, name(rootfs.Socket, true, Shared), false, host, Choice{}, preserve},
		{"shared, live, host not prepared, may mount", shared, name(rootfs.Socket, true, Shared), mount, false, Choice{}, bind},
		{"shared, live, neither", shared, name(rootfs.Socket, true, Shared), false, false, Choice{}, "refused"},
		{"shared, link that leads nowhere", shared, blocked("log", "too many levels of symbolic links"), false, false, Choice{}, prepare},
		{"shared, link that leads nowhere, adopt", shared, blocked("log", "too many levels of symbolic links"), mount, false, Choice{Strategy: Adopt}, "refused"},
		{"private, link that leads nowhere", private, blocked("/file/x", "not a directory"), false, false, Choice{}, symlink},
		{"read-only, link that leads nowhere", readOnly, blocked("log", "too many levels of symbolic links"), mount, false, Choice{}, bind},
		// unknown counts as shared
		{"unknown, dangling link", unknown, link(journal, rootfs.Absent, false, Private), false, false, Choice{}, adopt},
		{"unknown, absent", unknown, name(rootfs.Absent, false, Unknown), false, false, Choice{}, prepare},
		{"unknown, live and not ours", unknown, name(rootfs.Socket, true, Unknown), false, false, Choice{}, "refused"},
		{"unknown, live and ours", unknown, name(rootfs.Socket, true, Private), false, false, Choice{}, nothing},
		// read-only
		{"read-only, link that can be adopted", readOnly, link(journal, rootfs.Absent, false, Private), mount, false, Choice{}, adopt},
		{"read-only, dangling link to a shared place", readOnly, link("/dev/x", rootfs.Absent, false, Shared), mount, false, Choice{}, bind},
		{"read-only, absent: there is nothing to mount over", readOnly, name(rootfs.Absent, false, Shared), mount, false, Choice{}, "refused"},
		{"read-only, live", readOnly, name(rootfs.Socket, true, Shared), mount, host, Choice{}, bind},
		{"read-only, stale, no mount", readOnly, name(rootfs.Socket, false, Shared), false, false, Choice{}, "refused"},
		// the strategy is chosen
		{"adopt where auto would link", private, link(journal, rootfs.Absent, false, Private), false, false, Choice{Strategy: Adopt}, adopt},
		{"adopt nothing", shared, name(rootfs.Absent, false, Shared), mount, false, Choice{Strategy: Adopt}, "refused"},
		{"adopt a shared place", shared, link("/dev/x", rootfs.Absent, false, Shared), mount, false, Choice{Strategy: Adopt}, "refused"},
		{"symlink where auto would adopt", shared, link(journal, rootfs.Absent, false, Private), false, false, Choice{Strategy: Symlink}, prepare},
		{"symlink over a live shared socket, from the host", shared, name(rootfs.Socket, true, Shared), mount, false, Choice{Strategy: Symlink},
			"symlink: listen on /run/devlog/log; make /run/devlog/log a link to /dev/.devlog-host on the host; " +
				"make /dev/log a link to /run/devlog/log, and keep the host's socket as /dev/.devlog-host"},
		{"symlink on a read-only /dev", readOnly, name(rootfs.Absent, false, Shared), mount, false, Choice{Strategy: Symlink}, "refused"},
		{"bind where auto would link", private, name(rootfs.Socket, false, Private), mount, false, Choice{Strategy: Bind}, bind},
		{"bind over nothing", private, name(rootfs.Absent, false, Private), mount, false, Choice{Strategy: Bind},
			"bind: listen on /run/devlog/log; make /dev/log a socket where nobody listens; mount a link to /run/devlog/log over /dev/log, in this container only"},
		{"bind without the right to", private, name(rootfs.Socket, false, Private), false, false, Choice{Strategy: Bind}, "refused"},
		{"any strategy, healthy", private, name(rootfs.Socket, true, Private), mount, false, Choice{Strategy: Bind}, nothing},
		// the container's own daemon listens
		{"no receiver, adopt", shared, link(journal, rootfs.Absent, false, Private), false, false, Choice{NoReceiver: true},
			"adopt: make /run/systemd/journal/dev-log a link to /run/devlog/log; start a watcher of /dev/log; nothing in /dev changes"},
		{"no receiver, adopt, nobody stays", shared, link(journal, rootfs.Absent, false, Private), false, false, Choice{NoReceiver: true, NoAutoRepair: true},
			"adopt: make /run/systemd/journal/dev-log a link to /run/devlog/log; nothing in /dev changes"},
		{"no receiver, adopted, nobody stays", shared, link(names.DefaultSocket, rootfs.Absent, false, Private), false, false, Choice{NoReceiver: true, NoAutoRepair: true},
			"nothing to do here; hint: let the container's own daemon listen on " + names.DefaultSocket},
		{"no receiver, healthy", private, name(rootfs.Socket, true, Private), false, false, Choice{NoReceiver: true},
			"adopt: start a watcher of /dev/log; nothing in /dev changes"},
		{"no receiver, symlink", shared, name(rootfs.Absent, false, Shared), false, false, Choice{NoReceiver: true},
			"symlink: start a watcher of /dev/log; make /run/devlog/log a link to /dev/.devlog-host on the host; make /dev/log a link to /run/devlog/log"},
		{"no receiver, symlink, nobody stays", shared, name(rootfs.Absent, false, Shared), false, false, Choice{NoReceiver: true, NoAutoRepair: true},
			"symlink: make /run/devlog/log a link to /dev/.devlog-host on the host; make /dev/log a link to /run/devlog/log"},
	} {
		c := tt.choice
		if c.Strategy == "" {
			c.Strategy = Auto
		}
		f := Facts{MayMount: tt.mount, MayPrepare: true, HostSocket: hostSocket(tt.prepare, false), Dev: tt.dev, Log: tt.log, Socket: noSocket}
		f.Log.Target.Here = tt.prepare // the host's daemon, seen from the host
		p := New(f, c)
		if got := p.String(); got != tt.want && (tt.want != "refused" || p.Verdict != Refused) {
			t.Errorf("%s:\n got %s\nwant %s", tt.state, got, tt.want)
		}
		checkPlan(t, tt.state, f, p)
	}
}

// checkPlan asserts what holds for every plan, whatever the facts.
func checkPlan(t *testing.T, state string, f Facts, p Plan) {
	t.Helper()
	if p.Verdict == Refused && (p.Reason == "" || p.Advice == "") {
		t.Errorf("%s: refused without reason or advice: %+v", state, p)
	}
	if (p.Verdict == NeedsRepair) != (len(p.Steps) > 0) {
		t.Errorf("%s: verdict %q with %d steps", state, p.Verdict, len(p.Steps))
	}
	if strings.Contains(p.String(), "\n") {
		t.Errorf("%s: more than a line: %q", state, p)
	}
	for _, s := range p.Steps {
		if s.Op == OpLink && f.Log.Target.Live && f.Dev.Sharing != Private && !f.intruded() {
			t.Errorf("%s: a live socket of somebody else is replaced", state)
		}
		if s.Op == OpPreserve && f.HostSocket.Live && f.HostSocket.ID != f.Log.ID {
			t.Errorf("%s: the host's own live socket is lost", state)
		}
		if (s.Op == OpLink || s.Op == OpPreserve || s.Op == OpRename) && f.Dev.Unwritable != "" {
			t.Errorf("%s: /dev is written, which cannot be", state)
		}
		if (s.Op == OpMount || s.Op == OpTmpfs || s.Op == OpUnmount) && !f.MayMount {
			t.Errorf("%s: mounts, which may not be", state)
		}
	}
}

// TestPlanEveryState tries every combination of facts and choices: checkPlan also holds
// where the table has no row.
func TestPlanEveryState(t *testing.T) {
	kinds := []rootfs.Kind{rootfs.Absent, rootfs.Socket, rootfs.Directory, rootfs.Regular, rootfs.Device, rootfs.FIFO}
	sharings := []Sharing{Private, Shared, Unknown}
	bools := []bool{false, true}
	n := 0
	for _, dev := range []DevFacts{private, shared, unknown, readOnly, {Kind: rootfs.Absent}} {
		for _, kind := range kinds {
			for _, s := range sharings {
				for i := range 1 << 9 {
					bit := func(n int) bool { return bools[i>>n&1] }
					log := name(kind, bit(0) && kind == rootfs.Socket, s)
					if bit(1) {
						log = link(journal, kind, bit(0) && kind == rootfs.Socket, s)
					}
					f := Facts{MayMount: bit(2), HostSocket: hostSocket(bit(3), bit(6)), Inside: bit(7), Host: bit(8), MayPrepare: !bit(7) && bit(4), Dev: dev, Log: log, Socket: noSocket}
					f.Socket.Sharing, f.Socket.MountAt = s, "/run/devlog"
					if bit(6) {
						f.Socket.Unwritable, f.Log.Target.Foreign = "read-only file system", f.Log.Target.Live
					}
					for _, strategy := range []Strategy{Auto, Adopt, Symlink, Bind} {
						checkPlan(t, string(kind), f, New(f, Choice{Strategy: strategy, Force: bit(4), NoReceiver: bit(5)}))
						n++
						checkPlan(t, "host, "+string(kind), f, NewHost(f, Choice{Strategy: strategy, Force: bit(4), Watch: bit(5)}))
					}
				}
			}
		}
	}
	if n != 5*6*3*512*4 {
		t.Errorf("only %d states", n)
	}
}

// A mount does not hide other files: the socket gets another path.
func TestPlanHidesNothing(t *testing.T) {
	log := link("/run/syslog-ng.sock", rootfs.Socket, true, Private)
	log.Target.Foreign = true
	f := Facts{Dev: shared, Log: log, Socket: noSocket, MayMount: true, HostSocket: hostSocket(false, false)}
	if got, want := New(f, Choice{Strategy: Auto}).String(),
		"bind: listen on /run/devlog/log; mount a link to /run/devlog/log over /dev/log, in this container only"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	f.Log.Target.MountAt, f.Log.Target.Path, f.Log.Known = "/run/devlog", names.DefaultSocket, true
	if p := New(f, Choice{Strategy: Auto}); p.Strategy != Adopt || !p.Has(OpTmpfs) {
		t.Errorf("where nothing is hidden: %s", p)
	}
}

// The container chooses where its /dev/log points: the text is escaped for terminals.
func TestPlanAdviceIsEscaped(t *testing.T) {
	const evil = "/run/\x1b[2Jlog"
	f := Facts{Inside: true, Dev: shared, Log: link(evil, rootfs.Absent, false, Private), Socket: noSocket, HostSocket: hostSocket(false, false)}
	f.Socket.Path, f.Log.Known = evil, true
	p := New(f, Choice{Strategy: Auto, NoReceiver: true, NoAutoRepair: true})
	if got, want := p.String(), "nothing to do here; hint: "+OwnDaemon+"/run/#033[2Jlog"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
