package devlogd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"devlog/internal/intake"

	"golang.org/x/sys/unix"
)

// dialStream returns a stream socket connected to path.
func dialStream(t testing.TB, path string) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		_ = unix.Close(fd)
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// write writes all of a text to a connection.
func write(t *testing.T, fd int, text string) {
	t.Helper()
	for len(text) > 0 {
		n, err := unix.SendmsgN(fd, []byte(text), nil, nil, unix.MSG_NOSIGNAL)
		if err != nil {
			t.Fatalf("write %d bytes: %v", len(text), err)
		}
		text = text[n:]
	}
}

// openFiles returns how many descriptors a process has, without what it opens to look at itself.
// The start has more of them for a moment after devlogd is ready: call it after a message was
// written.
func openFiles(t *testing.T, pid int) (n int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/", pid)
	list, err := os.ReadDir(dir + "fd")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Readlink(dir + "exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if to, err := os.Readlink(dir + "fd/" + e.Name()); err == nil && to != program && to != dir+"maps" {
			n++
		}
	}
	return n
}

func TestStream(t *testing.T) {
	dir := t.TempDir()
	sock, dgram, log := filepath.Join(dir, "s"), filepath.Join(dir, "d"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", dgram, "--type", "dgram", "--listen", sock, "--type", "stream", "--name", "box", "--rule", "*.* -"+log)
	send(t, dial(t, dgram), "<13>c: datagram")
	await(t, log, "datagram")
	idle := openFiles(t, d.cmd.Process.Pid)
	c := dialStream(t, sock)
	write(t, c, "<13>a: one\nline\x00<13>a: tw")
	await(t, log, "one")
	write(t, c, "o\x00\x00")
	await(t, log, "two")
	lines := dialStream(t, sock)
	write(t, lines, "<13>b: one\n<13>b: two\n"+strings.Repeat("x", 1<<17)+"\n<13>b: no end")
	if err := unix.Shutdown(lines, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	await(t, log, "no end")
	counted := dialStream(t, sock) // logger --octet-count
	write(t, counted, "24 <13>t: octet counted one24 <13>t: octet co")
	await(t, log, "counted one")
	write(t, counted, "unted two")
	await(t, log, "counted two")
	if write(t, counted, "99 <13>t: not all of it"); unix.Shutdown(counted, unix.SHUT_WR) != nil {
		t.Fatal("shutdown")
	}
	await(t, log, "not all")
	want := "box c: datagram\nbox a: one#012line\nbox a: two\nbox b: one\nbox b: two\nbox " + strings.Repeat("x", (64<<10)) + " [cut]\nbox b: no end\nbox t: octet counted one\nbox t: octet counted two\nbox t: not all of it\n"
	if got := content(t, log); got != want {
		t.Errorf("got %.300q, want %.300q", got, want)
	}
	if err := unix.Shutdown(c, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	eventuallyOpen(t, d, idle)
	d.stop()
	for _, name := range []string{sock, dgram} {
		if _, err := os.Lstat(name); err == nil {
			t.Errorf("%s is left", name)
		}
	}
}

// eventuallyOpen waits until the receiver has so many descriptors.
func eventuallyOpen(t *testing.T, d *running, want int) {
	t.Helper()
	for end := time.Now().Add(deadline); openFiles(t, d.cmd.Process.Pid) != want; {
		if time.Now().After(end) {
			t.Fatalf("%d open files, want %d", openFiles(t, d.cmd.Process.Pid), want)
		}
		_, _ = unix.Poll(nil, 2) // nothing tells of it more simply
	}
}

// Idle connections cost almost nothing, and connections with incomplete messages a bounded
// amount of memory.
func TestStreamManyConnections(t *testing.T) {
	dir := t.TempDir()
	sock, log, long := filepath.Join(dir, "s"), filepath.Join(dir, "m"), filepath.Join(dir, "long")
	d := startReady(t, nil, "--listen", sock, "--type", "stream", "--rule", `:msg, !startswith, "begin" -`+log, "--rule", `:msg, startswith, "begin" -`+long)
	first := dialStream(t, sock)
	write(t, first, "<13>a: first\n")
	await(t, log, "first")
	before := residentKiB(t, d.cmd.Process.Pid)
	var all []int
	for i := range 1000 {
		c := dialStream(t, sock)
		write(t, c, fmt.Sprintf("<13>a: hello %d.\n", i))
		all = append(all, c)
	}
	write(t, first, "<13>a: second\n")
	await(t, log, "second")
	awaitCount(t, log, "hello", len(all))
	if grown := residentKiB(t, d.cmd.Process.Pid) - before; grown > 3<<10 {
		t.Errorf("1000 idle connections take %d KiB", grown)
	}
	// 1000 connections with 60 KB each are 60 MB.
	part := "<13>a: begin" + strings.Repeat("x", 60_000)
	for _, c := range all {
		write(t, c, part)
	}
	write(t, first, "<13>a: third\n")
	await(t, log, "third")
	for i, c := range all {
		write(t, c, fmt.Sprintf("\n<13>a: again %d.\n", i))
	}
	awaitCount(t, log, "again", len(all))
	if grown := residentKiB(t, d.cmd.Process.Pid) - before; grown > 32<<10 {
		t.Errorf("1000 incomplete messages take %d KiB", grown)
	}
	awaitCount(t, long, "a: begin", len(all))
	d.stop()
}

// awaitCount waits until a file contains a text n times.
func awaitCount(t *testing.T, path, text string, n int) {
	t.Helper()
	for end := time.Now().Add(deadline); ; {
		data, err := os.ReadFile(path)
		got := bytes.Count(data, []byte(text))
		if err == nil && got == n {
			return
		}
		if got > n || time.Now().After(end) {
			t.Fatalf("%s contains %q %d times, want %d", path, text, got, n)
		}
		_, _ = unix.Poll(nil, 2) // nothing tells of a file's growth more simply
	}
}

func residentKiB(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// With few descriptors, every client is still served.
func TestStreamFewDescriptors(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--type", "stream", "--rule", "*.* -"+log)
	write(t, dialStream(t, sock), "<13>a: first\n")
	await(t, log, "first")
	limit := uint64(openFiles(t, d.cmd.Process.Pid) + 4)
	if err := unix.Prlimit(d.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}, nil); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		write(t, dialStream(t, sock), fmt.Sprintf("<13>a: hello %d.\n", i))
	}
	for i := range 50 {
		await(t, log, fmt.Sprintf("hello %d.", i))
	}
	// Without any descriptor they wait, and the receiver does not spin.
	none := uint64(0)
	if err := unix.Prlimit(d.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: none, Max: limit}, nil); err != nil {
		t.Fatal(err)
	}
	c := dialStream(t, sock)
	write(t, c, "<13>a: waits\n")
	await(t, log, "no descriptors left")
	if err := unix.Prlimit(d.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}, nil); err != nil {
		t.Fatal(err)
	}
	await(t, log, "a: waits")
	d.stop()
}

// What was sent before the end is written, also from connections that were not accepted yet.
func TestStreamDrain(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--type", "stream", "--name", "box", "--rule", "*.* -"+log)
	accepted := dialStream(t, sock)
	write(t, accepted, "<13>a: accepted\x00")
	await(t, log, "accepted")
	d.signal(unix.SIGSTOP)
	var want []string
	for i := range 100 {
		text := fmt.Sprintf("waiting %d.", i)
		write(t, dialStream(t, sock), "<13>a: "+text+"\n<13>a: more "+text)
		want = append(want, text, "more "+text)
	}
	for i := range 100 {
		text := fmt.Sprintf("queued %d.", i)
		write(t, accepted, "<13>a: "+text+"\x00")
		want = append(want, text)
	}
	d.signal(unix.SIGTERM)
	d.signal(unix.SIGCONT)
	if code := d.wait(); code != 0 {
		t.Errorf("exit code %d: %s", code, &d.stderr)
	}
	lines := strings.Split(content(t, log), "\n")
	for _, text := range want {
		if !slices.Contains(lines, "box a: "+text) {
			t.Errorf("%q is missing", text)
		}
	}
	if err := unix.Connect(accepted, &unix.SockaddrUnix{Name: sock}); err == nil {
		t.Error("somebody listens still")
	}
}

// Senders that never pause, or reconnect for each message, lose nothing that was accepted
// before the end.
func TestStreamDrainUnderLoad(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--type", "stream", "--rule", "*.* -"+log)
	const senders = 4
	counts := make(chan int, senders)
	address := &unix.SockaddrUnix{Name: sock}
	for i := range senders {
		go func() {
			n, fd := 0, -1
			for {
				if fd < 0 {
					fd, _ = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
					if unix.Connect(fd, address) != nil {
						break
					}
				}
				sent, err := unix.SendmsgN(fd, []byte("<13>x: y\x00"), nil, nil, unix.MSG_NOSIGNAL)
				if err != nil {
					break
				}
				if sent > 0 {
					n++
				}
				if i%2 == 0 {
					_ = unix.Close(fd)
					fd = -1
				}
			}
			_ = unix.Close(fd)
			counts <- n
		}()
	}
	await(t, log, "x: y")
	d.stop()
	wantWritten(t, log, "x: y\n", counts)
}

// A receiver never takes over a live stream socket, with either type of its own.
func TestStreamDoesNotSteal(t *testing.T) {
	for _, first := range []string{"stream", "dgram"} {
		sock := filepath.Join(t.TempDir(), "s")
		d := startReady(t, nil, "--listen", sock, "--type", first, "--rule", "*.* -"+sock+".log")
		for _, second := range []string{"stream", "dgram"} {
			if _, report := start(t, nil, "--listen", sock, "--type", second, "--rule", "*.* -"+sock+".log"); !strings.Contains(report, "another program is receiving there") {
				t.Errorf("%s, then %s: %s", first, second, report)
			}
		}
		d.stop()
	}
}

func TestStreamPassed(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "m")
	s, err := intake.Listen(filepath.Join(dir, "s"), unix.SOCK_STREAM, false)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(s.FD), "s")
	defer f.Close()
	c := dialStream(t, filepath.Join(dir, "s")) // before the receiver is there
	write(t, c, "<13>a: early\n")
	d := startReady(t, []passed{{"log", f}}, "--rule", "*.* -"+log)
	await(t, log, "early")
	d.stop()
	own, err := unix.Dup(c) // a file closes its descriptor when nobody looks
	if err != nil {
		t.Fatal(err)
	}
	connection := os.NewFile(uintptr(own), "c")
	defer connection.Close()
	if _, report := start(t, []passed{{"log", connection}}, "--rule", "*.* -"+log); !strings.Contains(report, "a stream socket that does not listen") {
		t.Errorf("a connection: %s", report)
	}
}

// Descriptors that clients pass are closed.
func TestDescriptorsOfClientsAreClosed(t *testing.T) {
	for _, option := range []string{"", ";JSON"} {
		dir := t.TempDir()
		dgram, stream, log := filepath.Join(dir, "d"), filepath.Join(dir, "s"), filepath.Join(dir, "m")
		d := startReady(t, nil, "--listen", dgram, "--type", "dgram", "--listen", stream, "--type", "stream", "--rule", "*.* -"+log+option)
		c := dialStream(t, stream)
		write(t, c, "<13>a: begin\n")
		await(t, log, "begin")
		before := openFiles(t, d.cmd.Process.Pid)
		sent := 0
		rights := unix.UnixRights(make([]int, 253)...) // SCM_MAX_FD of the kernel's include/net/scm.h
		for range 100 {
			for _, fd := range []int{dial(t, dgram), c} {
				var err error
				for end := time.Now().Add(deadline); ; {
					err = unix.Sendmsg(fd, []byte("<13>a: takes these\n"), rights, nil, 0)
					if !errors.Is(err, unix.ETOOMANYREFS) || time.Now().After(end) {
						break
					}
					_, _ = unix.Poll(nil, 1) // until some were read: the sender's limit, not the receiver's
				}
				if errors.Is(err, unix.EPERM) { // Linux 6.16 and newer refuse it: SO_PASSRIGHTS
					continue
				} else if err != nil {
					t.Fatal(err)
				}
				sent++
			}
		}
		write(t, c, "<13>a: end\n")
		await(t, log, "end")
		if n := openFiles(t, d.cmd.Process.Pid); n != before {
			t.Errorf("%q: %d open files, then %d", option, before, n)
		}
		d.stop()
		if n := strings.Count(content(t, log), "takes these"); n != sent {
			t.Errorf("%q: %d messages of %d", option, n, sent)
		}
	}
}
