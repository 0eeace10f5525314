package engine

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"devlog/test/host"
)

// The host's daemon keeps working while the host is prepared and unprepared: no message is
// lost or written twice, no sender's call fails, and /dev/log always leads to a listener.
func TestPreserveHost(t *testing.T) {
	for _, k := range host.DaemonKinds {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel() // each undo mostly waits
			host.NeedContainers(t)
			host.NeedDaemons(t)
			swaps, each := k.Enough()
			h := host.NewHost(t)
			d := host.NewDaemon(t, h, k, "/dev/log")
			d.Start()
			sender := host.BuildC(t, "testdata/sender.c")
			senders := map[string]func() string{}
			for id, how := range map[string]string{"k1": "keep", "k2": "keep", "a1": "again", "a2": "again"} {
				senders[id] = host.Background(t, h, sender, how, id, strconv.Itoa(each))
			}
			look := host.Background(t, h, sender, "look", "l", "0")
			for i := range swaps / 2 {
				h.Must(host.HookOn(), "repair", "--host")
				if i == 0 {
					expectLink(t, h.Path("/dev/log"), "/run/devlog/log")
				}
				h.Must(host.HookOn(), "undo", "--host")
			}
			sent := map[string]int{}
			total := 0
			for id, end := range senders {
				sent[id] = expectNoFailure(t, id, end())
				total += sent[id]
			}
			looks := expectNoFailure(t, "look", look())
			expectEach(t, d.Log, sent)
			if t.Failed() {
				d.Stop()
				t.Logf("the daemon said: %s", &d.Said)
			}
			if total < 4*each || looks < swaps {
				t.Errorf("only %d messages sent, and %d times looked", total, looks)
			}
			t.Logf("%d messages, %d looks, %d swaps", total, looks, swaps)
			if st, err := os.Lstat(h.Path("/dev/log")); err != nil || st.Mode().Type() != os.ModeSocket {
				t.Errorf("/dev/log after the last undo: %v, %v", st, err)
			}
		})
	}
}

// expectLink fails if the name is not a link with that text.
func expectLink(t *testing.T, name, text string) {
	t.Helper()
	if to, err := os.Readlink(name); err != nil || to != text {
		t.Errorf("%s leads to %q, %v, want %q", name, to, err, text)
	}
}

// expectNoFailure reads a sender's answer and returns how many messages it has sent.
func expectNoFailure(t *testing.T, id, answer string) (done int) {
	t.Helper()
	var failed int
	if n, err := fmt.Sscan(answer, &done, &failed); n != 2 {
		t.Fatalf("%s said %q: %v", id, answer, err)
	}
	if failed != 0 {
		t.Errorf("%s: calls failed: %s", id, answer)
	}
	return done
}

// expectEach waits until a log file has as many messages as each sender has sent, and
// expects each number once.
func expectEach(t *testing.T, file string, sent map[string]int) {
	t.Helper()
	total := 0
	for _, n := range sent {
		total += n
	}
	var got []byte
	host.WaitFor(func() bool { // what is missing is reported below
		var err error
		got, err = os.ReadFile(file)
		return err == nil && bytes.Count(got, []byte(" sender: ")) >= total
	})
	seen := map[string][]byte{}
	for id, n := range sent {
		seen[id] = make([]byte, n)
	}
	for line := range bytes.Lines(got) {
		_, message, ours := bytes.Cut(line, []byte(" sender: "))
		if !ours {
			continue // a message of the daemon's own
		}
		id, number, _ := strings.Cut(strings.TrimSuffix(string(message), ".\n"), " ")
		n, err := strconv.Atoi(number)
		if of := seen[id]; err != nil || n >= len(of) {
			t.Fatalf("nobody has sent what led to %q", line)
		} else if of[n] < 255 {
			of[n]++
		}
	}
	for id, of := range seen {
		lost, twice, firstLost := 0, 0, -1
		for n, times := range of {
			switch {
			case times > 1:
				twice++
			case times == 0:
				lost++
				if firstLost < 0 {
					firstLost = n
				}
			}
		}
		if lost+twice > 0 {
			t.Errorf("of %d messages of %s %d are lost (the first is %d), and %d written more than once", len(of), id, lost, firstLost, twice)
		}
	}
}
