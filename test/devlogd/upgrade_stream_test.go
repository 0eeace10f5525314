package devlogd

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// Connections survive upgrades with their incomplete messages, and lose nothing at full speed.
func TestUpgradeStreams(t *testing.T) {
	dir := t.TempDir()
	sock, log, flood := filepath.Join(dir, "s"), filepath.Join(dir, "m"), filepath.Join(dir, "flood")
	// The flood has a file of its own: to read it again and again would take longer and longer.
	d := startReady(t, nil, "--listen", sock, "--type", "stream", "--name", "box", "--rule", "*.*;user.!=info -"+log, "--rule", "user.=info -"+flood)
	half := dialStream(t, sock)
	send(t, half, "<13>t: whole\x00<13>t: one ")
	await(t, log, "t: whole")
	var stop atomic.Bool
	var sent [4]atomic.Int64
	var senders sync.WaitGroup
	for s := range sent {
		fd := dialStream(t, sock)
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 20}); err != nil {
			t.Fatal(err)
		}
		senders.Add(1)
		go func() {
			defer senders.Done()
			for i := 0; !stop.Load(); i++ {
				for text := fmt.Appendf(nil, "<14>s%d: %d\x00", s, i); len(text) > 0; {
					n, err := unix.Write(fd, text)
					if errors.Is(err, unix.EINTR) {
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					text = text[n:]
				}
				sent[s].Add(1)
			}
		}()
	}
	counted, cut := dialStream(t, sock), dialStream(t, sock)
	const long = (64 << 10) + 9
	send(t, counted, "12 <13>c: whole22 <13>c: ")
	send(t, cut, fmt.Sprint(long, " <13>c: ", strings.Repeat("x", (64<<10))))
	await(t, log, "c: whole")
	await(t, log, "[cut]")
	for i := range 10 {
		d.signal(unix.SIGUSR2)
		awaitTimes(t, log, upgraded, i+1)
		send(t, half, fmt.Sprint(i, " "))
		send(t, counted, fmt.Sprint(i%10))
	}
	send(t, counted, "  end")
	await(t, log, "box c: 0123456789  end\n")
	send(t, cut, "x\n10 <13>c: cut\n")
	await(t, log, "box c: cut\n")
	stop.Store(true)
	senders.Wait()
	send(t, half, "end\x00")
	await(t, log, "box t: one 0 1 2 3 4 5 6 7 8 9 end\n")
	send(t, dialStream(t, sock), "<13>t: new\n")
	await(t, log, "box t: new\n")
	d.stop()
	text := content(t, flood)
	for s := range sent {
		next := 0
		for line := range strings.Lines(text) {
			var i int
			if n, _ := fmt.Sscanf(line, fmt.Sprintf("box s%d: %%d\n", s), &i); n == 1 {
				if i != next {
					t.Fatalf("sender %d: message %d where %d is expected", s, i, next)
				}
				next++
			}
		}
		if int64(next) != sent[s].Load() {
			t.Errorf("sender %d: %d sent, %d written", s, sent[s].Load(), next)
		}
	}
}

// The rate limits all connections of a stream socket together: senders wait, or messages are
// dropped. The end does not wait for senders.
func TestRateOfStreams(t *testing.T) {
	for _, how := range []string{"block", "drop"} {
		dir := t.TempDir()
		sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
		d := startReady(t, nil, "--listen", sock, "--type", "stream", "--name", "box", "--rule", "*.* -"+log, "--rate", "20/m", "--overflow", how)
		const each = 100
		for range 3 {
			fd := dialStream(t, sock)
			for range each {
				send(t, fd, "<13>flood\n")
			}
		}
		d.signal(unix.SIGUSR1)
		if how == "drop" {
			await(t, log, " (more than 20/m)")
		} else {
			await(t, log, "their senders wait")
		}
		d.signal(unix.SIGUSR2)
		awaitTimes(t, log, upgraded, 1)
		d.stop()
		text := content(t, log)
		n := strings.Count(text, "box flood\n")
		if how == "block" && n != 3*each {
			t.Errorf("%s: %d written", how, n)
		}
		if how == "drop" && (n < 20 || n > 60 || !strings.Contains(text, fmt.Sprintf("%d messages lost (more than 20/m)", 3*each-n))) {
			t.Errorf("%s: %d written, %q", how, n, text[max(0, len(text)-1000):])
		}
	}
}
