package repair

import (
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/devdir"
	"devlog/internal/handover"
	"devlog/internal/inspect"
	"devlog/internal/names"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
	"devlog/internal/rootfs/rootfstest"
	"devlog/internal/target"
)

// A daemon of the container that takes the private socket's name after the inspection
// keeps it, and the repair starts again.
func TestListenChanged(t *testing.T) {
	dir := rootfstest.Root(t)
	target, err := target.AtRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	f, err := inspect.Facts(target, "/run/log", nil)
	if err != nil {
		t.Fatal(err)
	}
	p := plan.New(f, plan.Choice{Strategy: plan.Auto})
	rootfstest.Listen(t, dir+"/run/log")
	at := rootfstest.Open(t, dir, "/run")
	theirs := rootfstest.ID(t, at, "log")
	w := &work{target: target, facts: f, plan: p, at: at}
	if err := w.listen(p.Socket); !errors.Is(err, devdir.ErrChanged) {
		t.Errorf("error %v, want errChanged", err)
	}
	if got := rootfstest.ID(t, at, "log"); got != theirs {
		t.Error("the daemon's socket is gone")
	}
}

// Only what was found at the plan's path may be replaced.
func TestInspected(t *testing.T) {
	const journal = names.JournalSocket
	dest := plan.PathFacts{Path: journal, Kind: rootfs.Socket, ID: rootfs.ID{Ino: 1}}
	socket := plan.PathFacts{Path: names.DefaultSocket, Kind: rootfs.Socket, ID: rootfs.ID{Ino: 2}}
	for _, tt := range []struct {
		plan plan.Plan
		want rootfs.Stat
	}{
		{plan.Plan{Strategy: plan.Adopt, Socket: journal}, rootfs.Stat{Kind: rootfs.Socket, ID: dest.ID}},
		{plan.Plan{Strategy: plan.Adopt, Socket: names.DefaultSocket}, rootfs.Stat{Kind: rootfs.Socket, ID: socket.ID}},
		{plan.Plan{Strategy: plan.Symlink, Socket: names.DefaultSocket}, rootfs.Stat{Kind: rootfs.Socket, ID: socket.ID}},
		{plan.Plan{Strategy: plan.Bind, Socket: names.DefaultSocket}, rootfs.Stat{Kind: rootfs.Socket, ID: socket.ID}},
		{plan.Plan{Strategy: plan.Bind, Socket: names.DefaultSocket, Steps: []plan.Step{{Op: plan.OpTmpfs}}}, rootfs.Stat{Kind: rootfs.Absent}},
	} {
		w := &work{facts: plan.Facts{Log: plan.LogFacts{Target: dest}, Socket: socket}, plan: tt.plan}
		if got := w.inspected(); got != tt.want {
			t.Errorf("%+v: %+v, want %+v", tt.plan, got, tt.want)
		}
	}
}

// The socket that a confined receiver has passed gets one name.
func TestPassedSocket(t *testing.T) {
	s, err := rootfs.NewSocket()
	if err != nil {
		t.Fatal(err)
	}
	passed := os.NewFile(uintptr(s), "unbound")
	defer passed.Close()
	d, _ := rootfstest.Dir(t)
	bind := func(name string) error {
		f, _, err := d.Bind(func() (int, error) { return newSocket(nil, passed) }, name, rootfs.Stat{Kind: rootfs.Absent})
		if err == nil {
			f.Close()
		}
		return err
	}
	if err := bind("log"); err != nil {
		t.Fatal(err)
	}
	if l, err := d.Listening("log"); err != nil || !l.Live {
		t.Errorf("it does not listen: %+v, %v", l, err)
	}
	if err := bind("other"); !errors.Is(err, errUsed) {
		t.Errorf("a second name: %v", err)
	}
}

// While others replace /dev/log all the time a repair does not touch the name, whatever it is:
// it makes the private socket, and starts what repairs later.
func TestContested(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"nothing": func(string) error { return nil },
		"FIFO":    func(path string) error { return unix.Mkfifo(path, 0o666) },
		"link":    func(path string) error { return os.Symlink("/etc/nologin", path) },
		"loop":    func(path string) error { return os.Symlink("log", path) },
	} {
		dir := rootfstest.Root(t)
		if err := put(dir + "/dev/log"); err != nil {
			t.Fatal(err)
		}
		target, err := target.AtRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer target.Close()
		o := Options{Socket: names.DefaultSocket, contested: true}
		o.Strategy = plan.Auto
		r, err := check(target, o)
		if err != nil || r.Plan.Verdict != plan.NeedsRepair || !r.Plan.Has(plan.OpListen) || !r.Plan.Has(plan.OpStart) {
			t.Errorf("%s: %+v, %v", name, r.Plan, err)
		}
		for _, s := range r.Plan.Steps {
			if s.Path == names.LogPath {
				t.Errorf("%s: it changes /dev/log: %+v", name, s)
			}
		}
	}
}

// A receiver that has the socket keeps it, with what is queued there, if /dev/log changes
// before the repair points it to the socket.
func TestChangedAfterStart(t *testing.T) {
	dir := rootfstest.Root(t)
	target, err := target.AtRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	receiver := os.NewFile(uintptr(pair[0]), "receiver")
	defer receiver.Close()
	o := Options{Socket: names.DefaultSocket, Choice: plan.Choice{Strategy: plan.Auto}}
	o.Receiver.Handover = os.NewFile(uintptr(pair[1]), "handover")
	defer o.Receiver.Handover.Close()
	r, err := check(target, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/dev/log", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := apply(target, r.Facts, r.Plan, o); !errors.Is(err, devdir.ErrChanged) {
		t.Errorf("%+v: error %v, want ErrChanged", r.Plan.Steps, err)
	}
	if l, err := rootfstest.Open(t, dir, "/run/devlog").Listening("log"); err != nil || !l.Live {
		t.Errorf("the receiver's socket: %+v, %v", l, err)
	}
}

// The directories that were made are passed innermost first. A name with a colon, which
// separates the names of passed files, is left out.
func TestMadeDirs(t *testing.T) {
	d, _ := rootfstest.Dir(t)
	w := &work{made: []rootfs.Made{{Parent: d, Name: "a"}, {Parent: d, Name: "b:c"}, {Parent: d, Name: "d"}}}
	var got []string
	for _, p := range w.madeDirs() {
		got = append(got, p.Name)
	}
	if want := []string{handover.NameRmdir + "d", handover.NameRmdir + "a"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
