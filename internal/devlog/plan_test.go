package devlog

import (
	"strings"
	"testing"

	"devlog/internal/rootfs"
)

// The parts of which the table's facts are made.
var (
	private  = DevFacts{Kind: rootfs.Directory, FSType: "tmpfs", Sharing: Private}
	shared   = DevFacts{Kind: rootfs.Directory, FSType: "devtmpfs", Sharing: Shared}
	unknown  = DevFacts{Kind: rootfs.Directory, FSType: "tmpfs", Sharing: Unknown}
	readOnly = DevFacts{Kind: rootfs.Directory, FSType: "devtmpfs", Sharing: Shared, Unwritable: "read-only file system"}

	noSocket = PlaceFacts{Path: DefaultSocket, Kind: rootfs.Absent, Sharing: Private}
)

func name(kind rootfs.Kind, live bool, s Sharing) LogFacts {
	return LogFacts{Kind: kind, Leads: PlaceFacts{Path: logPath, Kind: kind, Live: live, Sharing: s}}
}

func link(to string, kind rootfs.Kind, live bool, s Sharing) LogFacts {
	return LogFacts{Kind: rootfs.Link, Link: to, Leads: PlaceFacts{Path: to, Kind: kind, Live: live, Sharing: s}}
}

const journal = "/run/systemd/journal/dev-log"

// TestPlan is the design's table: what is done about every state of /dev/log.
func TestPlan(t *testing.T) {
	const (
		symlink  = "symlink: listen on /run/devlog/log; make /dev/log a link to /run/devlog/log"
		adopt    = "adopt: listen on /run/systemd/journal/dev-log; nothing in /dev changes"
		bind     = "bind: listen on /run/devlog/log; mount a link to /run/devlog/log over /dev/log, in this container only"
		preserve = "symlink: listen on /run/devlog/log; keep the host's socket as /dev/.devlog-host; make /dev/log a link to /run/devlog/log"
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
		{"private, link to the private socket", private, link(DefaultSocket, rootfs.Absent, false, Private), false, false, Choice{},
			"adopt: listen on /run/devlog/log; nothing in /dev changes"},
		// any
		{"a directory", shared, name(rootfs.Directory, false, Shared), mount, host, Choice{}, "refused"},
		{"a regular file", private, name(rootfs.Regular, false, Private), mount, false, Choice{}, "refused"},
		{"a device", unknown, name(rootfs.Device, false, Unknown), mount, false, Choice{}, "refused"},
		{"a directory, forced", private, name(rootfs.Directory, false, Private), mount, false, Choice{Force: true},
			"symlink: rename /dev/log to /dev/log.devlog-old; listen on /run/devlog/log; make /dev/log a link to /run/devlog/log"},
		{"a regular file, forced", shared, name(rootfs.Regular, false, Shared), mount, false, Choice{Force: true},
			"symlink: rename /dev/log to /dev/log.devlog-old; listen on /run/devlog/log; make /dev/log a link to /run/devlog/log"},
		{"a device on a read-only /dev, forced", readOnly, name(rootfs.Device, false, Shared), mount, false, Choice{Force: true}, "refused"},
		{"a link to a directory", shared, link("/run", rootfs.Directory, false, Private), mount, false, Choice{}, "refused"},
		{"no /dev", DevFacts{Kind: rootfs.Absent}, name(rootfs.Absent, false, Private), mount, false, Choice{}, "refused"},
		// shared
		{"shared, dangling link to a private place", shared, link(journal, rootfs.Absent, false, Private), false, false, Choice{}, adopt},
		{"shared, link to a stale private socket", shared, link(journal, rootfs.Socket, false, Private), false, false, Choice{}, adopt},
		{"shared, link to a live private socket", shared, link(journal, rootfs.Socket, true, Private), false, false, Choice{}, nothing},
		{"shared, dangling link to a shared place", shared, link("/dev/x", rootfs.Absent, false, Shared), false, false, Choice{}, symlink},
		{"shared, link to a live shared socket", shared, link("/dev/x", rootfs.Socket, true, Shared), mount, false, Choice{}, bind},
		{"shared, link to a live shared socket, no mount", shared, link("/dev/x", rootfs.Socket, true, Shared), false, false, Choice{}, "refused"},
		{"shared, absent", shared, name(rootfs.Absent, false, Shared), false, false, Choice{}, symlink},
		{"shared, stale socket", shared, name(rootfs.Socket, false, Shared), false, false, Choice{}, symlink},
		{"shared, live, host prepared", shared, name(rootfs.Socket, true, Shared), false, host, Choice{}, preserve},
		{"shared, live, host not prepared, may mount", shared, name(rootfs.Socket, true, Shared), mount, false, Choice{}, bind},
		{"shared, live, neither", shared, name(rootfs.Socket, true, Shared), false, false, Choice{}, "refused"},
		// what cannot be told is taken for shared
		{"unknown, dangling link", unknown, link(journal, rootfs.Absent, false, Private), false, false, Choice{}, adopt},
		{"unknown, absent", unknown, name(rootfs.Absent, false, Unknown), false, false, Choice{}, symlink},
		{"unknown, live and not ours", unknown, name(rootfs.Socket, true, Unknown), false, false, Choice{}, "refused"},
		{"unknown, live and ours", unknown, name(rootfs.Socket, true, Private), false, false, Choice{}, nothing},
		// read-only
		{"read-only, link that can be adopted", readOnly, link(journal, rootfs.Absent, false, Private), mount, false, Choice{}, adopt},
		{"read-only, absent", readOnly, name(rootfs.Absent, false, Shared), mount, false, Choice{}, bind},
		{"read-only, live", readOnly, name(rootfs.Socket, true, Shared), mount, host, Choice{}, bind},
		{"read-only, stale, no mount", readOnly, name(rootfs.Socket, false, Shared), false, false, Choice{}, "refused"},
		// the strategy is chosen
		{"adopt where auto would link", private, link(journal, rootfs.Absent, false, Private), false, false, Choice{Strategy: Adopt}, adopt},
		{"adopt nothing", shared, name(rootfs.Absent, false, Shared), mount, false, Choice{Strategy: Adopt}, "refused"},
		{"adopt a shared place", shared, link("/dev/x", rootfs.Absent, false, Shared), mount, false, Choice{Strategy: Adopt}, "refused"},
		{"symlink where auto would adopt", shared, link(journal, rootfs.Absent, false, Private), false, false, Choice{Strategy: Symlink}, symlink},
		{"symlink over a live shared socket", shared, name(rootfs.Socket, true, Shared), mount, false, Choice{Strategy: Symlink}, preserve},
		{"symlink on a read-only /dev", readOnly, name(rootfs.Absent, false, Shared), mount, false, Choice{Strategy: Symlink}, "refused"},
		{"bind where auto would link", private, name(rootfs.Absent, false, Private), mount, false, Choice{Strategy: Bind}, bind},
		{"bind without the right to", private, name(rootfs.Absent, false, Private), false, false, Choice{Strategy: Bind}, "refused"},
		{"any strategy, healthy", private, name(rootfs.Socket, true, Private), mount, false, Choice{Strategy: Bind}, nothing},
		// the container's own daemon listens
		{"no receiver, adopt", shared, link(journal, rootfs.Absent, false, Private), false, false, Choice{NoReceiver: true}, nothing},
		{"no receiver, symlink", shared, name(rootfs.Absent, false, Shared), false, false, Choice{NoReceiver: true},
			"symlink: make /dev/log a link to /run/devlog/log"},
	} {
		c := tt.choice
		if c.Strategy == "" {
			c.Strategy = Auto
		}
		f := Facts{MayMount: tt.mount, HostPrepared: tt.prepare, Dev: tt.dev, Log: tt.log, Socket: noSocket}
		p := NewPlan(f, c)
		if got := p.String(); got != tt.want && (tt.want != "refused" || p.Verdict != Refused) {
			t.Errorf("%s:\n got %s\nwant %s", tt.state, got, tt.want)
		}
		checkPlan(t, tt.state, f, p)
	}
}

// checkPlan asserts what is true of every plan, whatever the facts.
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
	preserved := false
	for _, s := range p.Steps {
		preserved = preserved || s.Op == OpPreserve
		if s.Op == OpLink && f.Log.Leads.Live && f.Dev.Sharing != Private && !preserved {
			t.Errorf("%s: a live socket of somebody else is replaced", state)
		}
		if (s.Op == OpLink || s.Op == OpMoveAside) && f.Dev.Unwritable != "" {
			t.Errorf("%s: /dev is written, which cannot be", state)
		}
		if s.Op == OpMount && !f.MayMount {
			t.Errorf("%s: mounts, which may not be", state)
		}
	}
}

// TestPlanEveryState runs through every combination of facts and choices: what
// checkPlan asserts holds also where the table has no row.
func TestPlanEveryState(t *testing.T) {
	kinds := []rootfs.Kind{rootfs.Absent, rootfs.Socket, rootfs.Directory, rootfs.Regular, rootfs.Device, rootfs.FIFO}
	sharings := []Sharing{Private, Shared, Unknown}
	bools := []bool{false, true}
	n := 0
	for _, dev := range []DevFacts{private, shared, unknown, readOnly, {Kind: rootfs.Absent}} {
		for _, kind := range kinds {
			for _, s := range sharings {
				for i := range 1 << 6 {
					bit := func(n int) bool { return bools[i>>n&1] }
					log := name(kind, bit(0) && kind == rootfs.Socket, s)
					if bit(1) {
						log = link(journal, kind, bit(0) && kind == rootfs.Socket, s)
					}
					f := Facts{MayMount: bit(2), HostPrepared: bit(3), Dev: dev, Log: log, Socket: noSocket}
					f.Socket.Sharing = s
					for _, strategy := range []Strategy{Auto, Adopt, Symlink, Bind} {
						checkPlan(t, string(kind), f, NewPlan(f, Choice{Strategy: strategy, Force: bit(4), NoReceiver: bit(5)}))
						n++
					}
				}
			}
		}
	}
	if n != 5*6*3*64*4 {
		t.Errorf("only %d states", n)
	}
}

func TestPlanSocket(t *testing.T) {
	absent := name(rootfs.Absent, false, Shared)
	for _, tt := range []struct {
		state  string
		socket PlaceFacts
		want   string
	}{
		{"somebody of this container listens already", PlaceFacts{Path: DefaultSocket, Kind: rootfs.Socket, Live: true, Sharing: Private},
			"symlink: make /dev/log a link to /run/devlog/log"},
		{"a stale socket", PlaceFacts{Path: DefaultSocket, Kind: rootfs.Socket, Sharing: Private},
			"symlink: listen on /run/devlog/log; make /dev/log a link to /run/devlog/log"},
		{"a place of the host's", PlaceFacts{Path: DefaultSocket, Kind: rootfs.Absent, Sharing: Shared},
			"refused: /run/devlog/log is not in a directory of this container's own; name a private place with --socket"},
		{"a directory", PlaceFacts{Path: DefaultSocket, Kind: rootfs.Directory, Sharing: Private},
			"refused: /run/devlog/log is a directory; remove it, or name another place with --socket"},
	} {
		f := Facts{Dev: shared, Log: absent, Socket: tt.socket}
		if got := NewPlan(f, Choice{Strategy: Auto}).String(); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.state, got, tt.want)
		}
	}
}
