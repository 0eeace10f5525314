package devlogd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/handover"
	"devlog/internal/names"
	"devlog/internal/rerun/reruntest"
)

func TestWatcherRepairs(t *testing.T) {
	for name, damage := range map[string]func(b box) error{
		"removed":  func(b box) error { return os.Remove(b.Dev) },
		"dangling": func(b box) error { return reruntest.Relink(b.Root, "/run/systemd/journal/dev-log") },
		"moved":    func(b box) error { return os.Rename(b.Dev, b.Dev+".old") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, "link")
			d := b.keep()
			// Neither other names nor a change to what is right anyway matter.
			for i := range 100 {
				b.Must(os.WriteFile(fmt.Sprintf("%s%d", b.Dev, i), nil, 0o600))
			}
			b.Must(reruntest.Relink(b.Root, "./"+reruntest.ToLog))
			b.Must(damage(b))
			b.leads(reruntest.ToLog)
			await(t, b.Log, "box devlogd["+fmt.Sprint(d.cmd.Process.Pid)+"]: /dev/log was replaced; repaired\n")
			send(t, dial(t, b.Dev), "<13>x: y")
			await(t, b.Log, "box x: y\n")
			d.stop()
			runs, err := os.ReadFile(filepath.Join(b.Dir, "runs"))
			b.Must(err)
			_, rest, _ := strings.Cut(string(runs), ": ")
			if want := `cwd / leader true env ["TZ=UTC"] files ["root" "receiver"]` + "\n"; rest != want {
				t.Errorf("runs: %q, want %q", rest, want)
			}
			wantGone(t, b.Sock)
		})
	}
}

func TestWatcherTakesOver(t *testing.T) {
	t.Parallel()
	b := newBox(t, "bind other")
	d := b.keep()
	old := dial(t, b.Dev)
	b.Must(os.Remove(b.Dev))
	b.leads("../run/devlog/other")
	await(t, b.Log, "repaired")
	send(t, old, "<13>old: y")
	send(t, dial(t, b.Dev), "<13>new: y")
	await(t, b.Log, "box old: y\n")
	await(t, b.Log, "box new: y\n")
	// The same again: the name is bound again, with the old socket still read.
	b.SetMode("bind log")
	b.Must(os.Remove(b.Sock))
	b.Must(os.Remove(b.Dev))
	b.leads(reruntest.ToLog)
	send(t, old, "<13>older: y")
	send(t, dial(t, b.Dev), "<13>newer: y")
	await(t, b.Log, "box older: y\n")
	await(t, b.Log, "box newer: y\n")
	b.record(d.cmd.Process.Pid)
	d.stop()
	wantEmpty(t, filepath.Dir(b.Sock))
}

// The watcher also watches the private socket's name.
func TestWatcherPrivateName(t *testing.T) {
	t.Parallel()
	b := newBox(t, "bind log")
	d := b.keep()
	b.Must(os.Remove(b.Sock))
	await(t, b.Log, "repaired")
	send(t, dial(t, b.Dev), "<13>x: y")
	await(t, b.Log, "box x: y\n")
	d.stop()
}

func TestWatcherFails(t *testing.T) {
	t.Parallel()
	b := newBox(t, "fail no: nothing to be done")
	d := b.keep()
	b.Must(os.Remove(b.Dev))
	await(t, b.Log, "devlogd["+fmt.Sprint(d.cmd.Process.Pid)+"]: /dev/log cannot be repaired: no: nothing to be done\n")
	b.SetMode("fail it is different now")
	await(t, b.Log, "cannot be repaired: it is different now\n")
	const retries = 5 // of the watcher, by the clock
	b.Eventually("all retries", func() bool { return b.Runs() == 1+retries })
	b.SetMode("link")
	b.Must(reruntest.Relink(b.Root, "/nowhere"))
	b.leads(reruntest.ToLog)
	await(t, b.Log, "repaired\n")
	if got := strings.Count(content(t, b.Log), "cannot be repaired"); got != 2 {
		t.Errorf("said %d times: %s", got, content(t, b.Log))
	}
	if b.Runs() != 1+retries+1 {
		t.Errorf("%d runs", b.Runs())
	}
	d.stop()
}

// What a failed repair has handed over is closed again.
func TestWatcherFailsAfterHandover(t *testing.T) {
	t.Parallel()
	b := newBox(t, "bind-fail other")
	d := b.keep()
	before := fdCount(t, d)
	b.Must(os.Remove(b.Dev))
	await(t, b.Log, "cannot be repaired: took it back\n")
	b.SetMode("link")
	b.leads(reruntest.ToLog)
	await(t, b.Log, "repaired\n")
	// A directory handle for each of the two names, and the log.
	if after := fdCount(t, d); after > before+3 {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	d.stop()
}

func fdCount(t *testing.T, d *running) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestWatcherCommandMissing(t *testing.T) {
	t.Parallel()
	b := newBox(t, "")
	_, socket := passedSocket(t, filepath.Dir(b.Sock))
	d := startReady(t, []passed{socket, {handover.NameRoot, openDir(t, b.Root)}}, "--rule", "*.* -"+b.Log, "--", "/nowhere", "auto-repair")
	b.Must(os.Remove(b.Dev))
	await(t, b.Log, "/dev/log cannot be repaired: cannot run /nowhere: no such file or directory\n")
	d.stop()
}

// Replacing /dev/log all the time causes a bounded number of repairs.
func TestWatcherHostile(t *testing.T) {
	t.Parallel()
	b := newBox(t, "link")
	d := b.keep()
	for i := range 200 {
		b.Must(reruntest.Relink(b.Root, fmt.Sprint("/nowhere/", i)))
		_, _ = unix.Poll(nil, 2)
	}
	b.leads(reruntest.ToLog)
	await(t, b.Log, "repaired")
	if n := b.Runs(); n > 8 {
		t.Errorf("%d runs", n)
	}
	d.stop()
	// What was not said in time is said at the end; the last run may not have
	// ended by then.
	said := 1
	for line := range strings.Lines(content(t, b.Log)) {
		_, times, _ := strings.Cut(line, "(")
		_, _ = fmt.Sscanf(times, "%d times", &said)
	}
	if n := b.Runs(); said != n && said != n-1 {
		t.Errorf("%d runs: %s", n, content(t, b.Log))
	}
	if n := strings.Count(content(t, b.Log), "repaired"); n > 2 {
		t.Errorf("said %d times", n)
	}
}

// The receiver yields to a daemon of the container that takes the private socket.
func TestWatcherStepsAside(t *testing.T) {
	t.Parallel()
	b := newBox(t, "link")
	d := b.keep()
	old := dial(t, b.Dev)
	d.signal(unix.SIGSTOP)
	send(t, old, "<13>x: last")
	own := b.Listen()
	d.signal(unix.SIGCONT)
	await(t, b.Log, "another daemon listens on "+reruntest.ToLog+" now; devlogd only watches /dev/log\n")
	if got := content(t, b.Log); !strings.HasPrefix(got, "box x: last\n") || strings.Count(got, "\n") != 2 {
		t.Errorf("%q", got)
	}
	if err := unix.Send(old, []byte("<13>x: y"), 0); err == nil {
		t.Error("the old socket still takes messages")
	}
	b.Must(os.Remove(b.Dev))
	b.leads(reruntest.ToLog)
	send(t, dial(t, b.Dev), "<13>x: y")
	if got := b.read(own); got != "<13>x: y" {
		t.Errorf("%q", got)
	}
	d.stop()
	if _, err := os.Lstat(b.Sock); err != nil {
		t.Errorf("removed another's socket: %v", err)
	}
}

func TestWatcherOnly(t *testing.T) {
	t.Parallel()
	b := newBox(t, "link")
	own := b.Listen()
	// No output is opened: this one could not be.
	d := startReady(t, []passed{{handover.NameRoot, openDir(t, b.Root)}}, append([]string{"--rule", "*.* " + b.Dir}, b.command()...)...)
	b.Must(os.Remove(b.Dev))
	b.leads(reruntest.ToLog)
	if got := b.read(own); got != "<45>devlogd: /dev/log was replaced; repaired" {
		t.Errorf("%q", got)
	}
	b.Must(reruntest.Relink(b.Root, reruntest.ToLog)) // which is no change
	b.SetMode("fail sorry")
	b.Must(reruntest.Relink(b.Root, "../dev/alias"))
	b.Must(os.Symlink(reruntest.ToLog, filepath.Join(b.Root, "dev/alias")))
	if got := b.read(own); got != "<44>devlogd: /dev/log cannot be repaired: sorry" {
		t.Errorf("%q", got)
	}
	d.stop()
}

// A receiver that only watches opens its outputs once it has a socket.
func TestWatcherOnlyTakesOver(t *testing.T) {
	t.Parallel()
	b := newBox(t, "bind log")
	d := startReady(t, []passed{{handover.NameRoot, openDir(t, b.Root)}}, append([]string{"--name", "box", "--rule", "*.* -" + b.Log}, b.command()...)...)
	b.Must(os.Remove(b.Dev))
	await(t, b.Log, "repaired")
	send(t, dial(t, b.Dev), "<13>x: y")
	await(t, b.Log, "box x: y\n")
	d.stop()
	wantGone(t, b.Sock)
}

func TestWatcherEndsDuringRepair(t *testing.T) {
	t.Parallel()
	b := newBox(t, "bind-hang other")
	d := b.keep()
	b.Must(os.Remove(b.Dev))
	b.Eventually("the repair hangs", func() bool {
		_, err := os.Stat(filepath.Join(b.Dir, "hangs"))
		return err == nil
	})
	send(t, dial(t, filepath.Join(filepath.Dir(b.Sock), "other")), "<13>x: y")
	d.stop()
	runs, err := os.ReadFile(filepath.Join(b.Dir, "runs"))
	b.Must(err)
	pid := 0
	if _, err := fmt.Sscanf(string(runs), "%d:", &pid); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the repair still runs: %v", err)
	}
	if got := content(t, b.Log); got != "box x: y\n" {
		t.Errorf("%q", got)
	}
	wantEmpty(t, filepath.Dir(b.Sock))
	if _, err := os.Lstat(b.Dev); !errors.Is(err, unix.ENOENT) {
		t.Errorf("/dev/log: %v", err)
	}
}

// A name that now belongs to another process is not removed. The repair's own names are,
// whoever wrote the files.
func TestRemovalOfAnothersFile(t *testing.T) {
	b := newBox(t, "link")
	d := startReady(t, []passed{
		{handover.NameUnlink + "log", openDir(t, filepath.Dir(b.Sock))}, // not there yet
		{handover.NameUnlink + ".devlog-link", openDir(t, filepath.Dir(b.Sock))},
		{handover.NameUnlink + names.Record, openDir(t, filepath.Dir(b.Sock))},
		{handover.NameRoot, openDir(t, b.Root)},
	}, b.command()...)
	b.Listen()
	b.Must(os.Symlink("x", filepath.Join(filepath.Dir(b.Sock), ".devlog-link")))
	b.record(d.cmd.Process.Pid)
	d.stop()
	if left, err := os.ReadDir(filepath.Dir(b.Sock)); err != nil || len(left) != 1 || left[0].Name() != "log" {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestRemovalOfAnothersSocket(t *testing.T) {
	b := newBox(t, "link")
	_, socket := passedSocket(t, filepath.Dir(b.Sock))
	// Without a root it does not step aside.
	d := startReady(t, []passed{socket, {handover.NameUnlink + "log", openDir(t, filepath.Dir(b.Sock))}}, "--rule", "*.* -"+b.Log)
	b.Listen()
	d.stop()
	if _, err := os.Lstat(b.Sock); err != nil {
		t.Errorf("removed another's socket: %v", err)
	}
}

func TestProcessName(t *testing.T) {
	b := newBox(t, "link")
	d := b.keep()
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", d.cmd.Process.Pid))
	if err != nil || string(name) != "devlogd\n" {
		t.Errorf("%q, %v", name, err)
	}
	d.stop()
}

// After the other daemon's end, the receiver listens again as soon as a restart can be ruled
// out.
func TestWatcherComesBack(t *testing.T) {
	t.Parallel()
	b := newBox(t, "bind log")
	d := b.keep()
	other := b.Listen()
	await(t, b.Log, "only watches /dev/log\n")
	b.Must(os.Remove(b.Sock))
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	b.Must(err)
	b.Must(unix.Dup3(null, other, unix.O_CLOEXEC)) // its number stays taken until the test closes it
	b.Must(unix.Close(null))
	await(t, b.Log, "; receiving again\n")
	send(t, dial(t, b.Dev), "<13>x: y")
	await(t, b.Log, "box x: y\n")
	if b.Runs() != 1 {
		t.Errorf("%d runs", b.Runs())
	}
	d.stop()
}
