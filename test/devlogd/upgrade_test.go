package devlogd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/daemon"
	"devlog/internal/devlogd"
	"devlog/internal/handover"
	"devlog/internal/rerun/reruntest"
)

// awaitTimes waits until a file contains a text so often.
func awaitTimes(t *testing.T, path, text string, n int) {
	t.Helper()
	var data []byte
	if !waitFor(func() (ok bool) {
		data, _ = os.ReadFile(path) // a missing file counts as empty
		return bytes.Count(data, []byte(text)) >= n
	}) {
		t.Fatalf("%s lacks %d times %q; it ends in %q", path, n, text, data[max(0, len(data)-2000):])
	}
}

// flood sends numbered messages from a few senders until it is told to stop.
type flood struct {
	t       *testing.T
	stop    atomic.Bool
	sent    []atomic.Int64
	senders sync.WaitGroup
	failed  atomic.Value // the first error
}

func startFlood(t *testing.T, sock string, n int) *flood {
	f := &flood{t: t, sent: make([]atomic.Int64, n)}
	for s := range n {
		fd := dial(t, sock)
		// So that a test that fails ends.
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Usec: 100000}); err != nil {
			t.Fatal(err)
		}
		f.senders.Add(1)
		go func() {
			defer f.senders.Done()
			for i := 0; !f.stop.Load(); {
				err := unix.Send(fd, fmt.Appendf(nil, "<13>s%d: %d", s, i), 0)
				if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
					continue
				}
				if err != nil {
					f.failed.CompareAndSwap(nil, err)
					return
				}
				i++
				f.sent[s].Add(1)
			}
		}()
	}
	t.Cleanup(f.end)
	return f
}

func (f *flood) end() {
	f.stop.Store(true)
	f.senders.Wait()
}

// total is how many messages were sent so far.
func (f *flood) total() (n int) {
	for s := range f.sent {
		n += int(f.sent[s].Load())
	}
	return n
}

// check reports messages that are missing in the text or out of order.
func (f *flood) check(text string) {
	f.t.Helper()
	next := make([]int, len(f.sent))
	for line := range strings.Lines(text) {
		var s, i int
		if n, _ := fmt.Sscanf(line, "box s%d: %d\n", &s, &i); n != 2 {
			continue
		}
		if i != next[s] {
			f.t.Fatalf("sender %d: message %d where %d is expected", s, i, next[s])
		}
		next[s]++
	}
	for s := range next {
		if sent := int(f.sent[s].Load()); next[s] != sent {
			f.t.Errorf("sender %d: %d sent, %d written", s, sent, next[s])
		}
	}
}

const upgraded = "upgraded to devlogd " // what begins the message

// Four senders at full speed notice nothing of twenty upgrades, and nothing is
// lost, doubled or out of order.
func TestUpgradeUnderLoad(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "*.* -"+log)
	f := startFlood(t, sock, 4)
	const upgrades = 20
	before := 0
	for i := range upgrades {
		eventually(t, "messages between two upgrades", func() bool { return f.total() > before+100 })
		before = f.total()
		d.signal(unix.SIGUSR2)
		awaitTimes(t, log, upgraded, i+1)
	}
	f.end()
	if err := f.failed.Load(); err != nil {
		t.Errorf("a send failed: %v", err)
	}
	d.signal(unix.SIGUSR1)
	await(t, log, ", upgrades ")
	d.stop()
	text := content(t, log)
	f.check(text)
	// The account is one of all that were received since the start.
	want := fmt.Sprintf("received %d, own %d, matched by a rule %d, by no rule 0, cut 0, upgrades %d;", f.total(), upgrades, f.total()+upgrades, upgrades)
	if !strings.Contains(text, want) {
		t.Errorf("no account %q in %q", want, text[max(0, len(text)-1000):])
	}
	wantGone(t, sock)
}

// A signal during an upgrade does not kill the program. After the first upgrade, no signal is
// lost either.
func TestUpgradeSignals(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "*.* -"+log)
	d.signal(unix.SIGUSR2)
	awaitTimes(t, log, upgraded, 1)
	fd := dial(t, sock)
	const account = "]: received "
	for round := range 20 {
		d.signal(unix.SIGUSR2)
		// At another moment of the upgrade each time.
		for i := range 10 * round {
			send(t, fd, fmt.Sprintf("<13>%d.%d", round, i))
		}
		d.signal(unix.SIGUSR1)
		awaitTimes(t, log, account, round+1)
		awaitTimes(t, log, upgraded, round+2)
	}
	n := strings.Count(content(t, log), upgraded)
	for i := range 10 {
		d.signal(unix.SIGUSR2)
		for range 50 {
			d.signal(unix.SIGUSR1)
			d.signal(unix.SIGHUP)
		}
		awaitTimes(t, log, upgraded, n+i+1)
	}
	d.stop()
}

// copyProgram copies the test program, to be replaced.
func copyProgram(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(path+".new", data, 0o755)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// If the new program or the configuration is not usable, the old program keeps running and logs
// the reason.
func TestUpgradeRefused(t *testing.T) {
	dir := t.TempDir()
	program, config := filepath.Join(dir, "devlogd"), filepath.Join(dir, "conf")
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	rule := "*.* -" + log + "\n"
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path+".new", []byte(text), mode), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	write(config, rule, 0o600)
	copyProgram(t, program)
	// In its sandbox it executes nothing with a linker elsewhere.
	d, report := startProgram(t, program, nil, "--listen", sock, "--name", "box", "--config", config, "--sandbox", "off")
	if report != "READY=1\n" {
		t.Fatalf("not ready: %s", report)
	}
	fd := dial(t, sock)
	pid := d.cmd.Process.Pid
	refused := 0
	for _, tt := range []struct {
		name, want string
		do         func()
	}{
		{"no program", "no such file or directory", func() { _ = os.Remove(program) }},
		{"a directory", "is not a regular file", func() { _ = os.Mkdir(program, 0o700) }},
		{"not executable", "permission denied", func() { _ = os.Remove(program); write(program, "x", 0o600) }},
		{"no format", "exec format error", func() { write(program, "garbage", 0o700) }},
		{"a script", "upgrade failed", func() { write(program, "#!/bin/sh\nexit 0\n", 0o700) }},
		{"a shell that ends", "it ended before it was ready", func() {
			sh, err := os.ReadFile("/bin/true")
			if err != nil {
				t.Fatal(err)
			}
			write(program, string(sh), 0o700)
		}},
		{"a wrong rule", ":2:2: expected an action", func() { copyProgram(t, program); write(config, rule+"x\n", 0o600) }},
		{"a file that cannot be one", "is a directory", func() { write(config, rule+"*.* -"+dir+"\n", 0o600) }},
	} {
		tt.do()
		d.signal(unix.SIGUSR2)
		refused++
		awaitTimes(t, log, "upgrade failed, devlogd "+devlogd.Version+" keeps running: ", refused)
		text := content(t, log)
		line := text[strings.LastIndex(text, "upgrade failed"):]
		if !strings.Contains(line, tt.want) || strings.Count(line, "\n") != 1 {
			t.Errorf("%s: %q, want %q", tt.name, line, tt.want)
		}
		send(t, fd, "<13>after "+tt.name)
		await(t, log, "after "+tt.name)
	}
	write(config, rule+"*.* -"+log+"2\n*.emerg *\n", 0o600) // the last is known and does nothing
	d.signal(unix.SIGUSR2)
	awaitTimes(t, log, upgraded, 1)
	send(t, fd, "<13>both")
	await(t, log+"2", "both")
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil || exe != program {
		t.Errorf("the program is %q, %v", exe, err)
	}
	if n := zombies(t, pid); n != 0 {
		t.Errorf("%d children are left", n)
	}
	d.stop()
}

// zombies counts the children of a process.
func zombies(t *testing.T, pid int) int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("%v, %v", tasks, err)
	}
	n := 0
	for _, task := range tasks {
		list, _ := os.ReadFile(task) // a thread that has ended has none
		n += len(strings.Fields(string(list)))
	}
	return n
}

// Upgrades leave the same files open, and no child inherits one.
func TestUpgradeDescriptors(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	pathS, s := passedSocket(t, dir)
	d := startReady(t, []passed{s}, "--listen", sock, "--name", "box", "--rule", "*.* -"+log)
	for i := range 2 {
		d.signal(unix.SIGUSR2)
		awaitTimes(t, log, upgraded, i+1)
	}
	send(t, dial(t, pathS), "<13>passed")
	await(t, log, "passed")
	before := fdCount(t, d)
	for i := range 5 {
		d.signal(unix.SIGUSR2)
		awaitTimes(t, log, upgraded, i+3)
	}
	send(t, dial(t, pathS), "<13>again")
	await(t, log, "again")
	eventually(t, "as many open files as before", func() bool { return fdCount(t, d) == before })
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", d.cmd.Process.Pid))
	if err != nil || bytes.Count(env, []byte("DEVLOGD_STATE=")) != 1 {
		t.Errorf("environment %q, %v", env, err)
	}
	d.stop()
}

// An upgrade waits for a running repair. The new program watches /dev/log, receives from the
// sockets of earlier repairs, and ends with the container.
func TestUpgradeWatcher(t *testing.T) {
	t.Parallel()
	b := newBox(t, "bind-slow other")
	init, ended := firstProcess(t)
	d := b.keep(init)
	d.signal(unix.SIGUSR2)
	awaitTimes(t, b.Log, upgraded, 1)
	old := dial(t, b.Dev)
	b.Must(os.Remove(b.Dev))
	b.Eventually("the repair is at work", func() bool {
		_, err := os.Stat(filepath.Join(b.Dir, "hangs"))
		return err == nil
	})
	d.signal(unix.SIGUSR2)
	send(t, old, "<13>meanwhile: y") // it receives as long as the repair takes
	await(t, b.Log, "box meanwhile: y\n")
	reruntest.Note(b.Dir, "go", "on")
	b.leads("../run/devlog/other")
	awaitTimes(t, b.Log, upgraded, 2)
	send(t, old, "<13>old: y")
	send(t, dial(t, b.Dev), "<13>new: y")
	await(t, b.Log, "box old: y\n")
	await(t, b.Log, "box new: y\n")
	b.SetMode("link")
	b.Must(os.Remove(b.Dev))
	b.leads(reruntest.ToLog)
	if b.Runs() != 2 {
		t.Errorf("%d repairs", b.Runs())
	}
	// What is wrong when the new program begins is no event, and repaired too.
	d.signal(unix.SIGSTOP)
	b.Must(os.Remove(b.Dev))
	d.signal(unix.SIGUSR2)
	d.signal(unix.SIGCONT)
	awaitTimes(t, b.Log, upgraded, 3)
	b.leads(reruntest.ToLog)
	b.record(d.cmd.Process.Pid)
	ended()
	if code := d.wait(); code != 0 || d.stderr.Len() > 0 {
		t.Errorf("exit code %d, stderr %q", code, &d.stderr)
	}
	wantEmpty(t, filepath.Dir(b.Sock))
}

// A receiver that only watches /dev/log needs no configuration for an upgrade.
func TestUpgradeWatcherOnly(t *testing.T) {
	t.Parallel()
	b := newBox(t, "link")
	s := b.Listen()
	d := startReady(t, []passed{{handover.NameRoot, openDir(t, b.Root)}},
		append([]string{"--config", filepath.Join(b.Dir, "absent")}, b.command()...)...)
	d.signal(unix.SIGUSR2)
	// It may have repaired before: it does not know where /dev/log is to lead.
	for got := ""; !strings.Contains(got, upgraded); got = b.read(s) {
		if got != "" && !strings.Contains(got, "repaired") {
			t.Errorf("%q", got)
		}
	}
	b.Must(os.Remove(b.Dev))
	b.leads(reruntest.ToLog)
	d.stop()
}

// A receiver that runs from memory refuses an upgrade and says what to do instead.
func TestUpgradeFromMemory(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	pid, err := daemon.Start(daemon.Spec{
		Path: "/proc/self/exe", Sealed: true, Env: []string{"TEST_BE_DEVLOGD=1"}, Timeout: deadline,
		Args: []string{"--listen", sock, "--name", "box", "--rule", "*.* -" + log},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	await(t, log, "it runs from memory")
	send(t, dial(t, sock), "<13>still there")
	await(t, log, "still there")
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil || !status.Exited() || status.ExitStatus() != 0 {
		t.Errorf("%v, %v", status, err)
	}
}
