package engine

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// crowdVariable sets how many containers TestNodeCrowd starts.
const crowdVariable = "DEVLOG_TEST_CROWD"

// crowdEvery is the time between two messages of a container.
const crowdEvery = 100 * time.Millisecond

// sender sends numbered messages in a container, and connects again after an error, as syslog(3) does.
type sender struct {
	c    *host.Cheap
	fd   int // -1 while it is not connected
	next uint64

	mu      sync.Mutex
	taken   []uint64  // the numbers of messages that were sent
	refused int       // how many were not
	since   time.Time // of the first that was not; zero again after one that was
	longest time.Duration
}

// send sends the next message. If the queue is full, syslog(3) waits; this tries again later.
func (s *sender) send() {
	if s.fd < 0 {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrUnix{Name: s.c.Path("/run/devlog/log")})
		}
		if err != nil {
			_ = unix.Close(fd)
			s.note(err)
			return
		}
		s.fd = fd
	}
	err := unix.Sendmsg(s.fd, fmt.Appendf(nil, "<13>t: number-%d", s.next), nil, nil, unix.MSG_DONTWAIT)
	if errors.Is(err, unix.EAGAIN) {
		return
	}
	if err != nil {
		_ = unix.Close(s.fd)
		s.fd = -1
	}
	s.note(err)
}

// note records whether the message was sent.
func (s *sender) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if err != nil {
		if s.refused++; s.since.IsZero() {
			s.since = now
		}
	} else {
		s.taken = append(s.taken, s.next)
		if !s.since.IsZero() {
			s.longest, s.since = max(s.longest, now.Sub(s.since)), time.Time{}
		}
	}
	s.next++
}

// crowd are the senders in all containers.
type crowd struct {
	senders []*sender
	stop    func()
}

// startCrowd has a message sent in each container every crowdEvery.
func startCrowd(t *testing.T, cs []*host.Cheap) *crowd {
	w := &crowd{}
	for _, c := range cs {
		w.senders = append(w.senders, &sender{c: c, fd: -1, next: 1})
	}
	var running sync.WaitGroup
	var stopped atomic.Bool
	for part := range slices.Chunk(w.senders, max(1, len(w.senders)/8)) {
		running.Add(1)
		go func() {
			defer running.Done()
			for every := time.NewTicker(crowdEvery); !stopped.Load(); <-every.C {
				for _, s := range part {
					s.send()
				}
			}
		}()
	}
	w.stop = sync.OnceFunc(func() {
		stopped.Store(true)
		running.Wait()
		for _, s := range w.senders {
			if s.fd >= 0 {
				_ = unix.Close(s.fd)
			}
		}
	})
	t.Cleanup(w.stop)
	return w
}

// written returns the numbers of the messages in the log of the sender's container.
func (s *sender) written(t *testing.T) map[uint64]bool {
	t.Helper()
	text, err := os.ReadFile(s.c.Log(false))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	numbers := map[uint64]bool{}
	for line := range strings.Lines(string(text)) {
		if _, after, ok := strings.Cut(strings.TrimSpace(line), ": number-"); ok {
			n, err := strconv.ParseUint(after, 10, 64)
			host.Check(t, err)
			numbers[n] = true
		}
	}
	return numbers
}

// allLog waits until a message that was sent from now on is in the log of each container.
func (w *crowd) allLog(t *testing.T) {
	t.Helper()
	var from []uint64
	for _, s := range w.senders {
		s.mu.Lock()
		from = append(from, s.next)
		s.mu.Unlock()
	}
	for i, s := range w.senders {
		host.Eventually(t, s.c.Name+" logs", func() bool {
			return slices.Max(append(slices.Collect(maps.Keys(s.written(t))), 0)) >= max(from[i], 1)
		})
	}
}

// outage returns how many messages could not be sent since the last call, and the longest time for which one
// container could send none.
func (w *crowd) outage() (refused int, longest time.Duration) {
	for _, s := range w.senders {
		s.mu.Lock()
		refused += s.refused
		longest = max(longest, s.longest)
		s.refused, s.longest = 0, 0
		s.mu.Unlock()
	}
	return refused, longest
}

// counted returns how many messages the service has counted as lost.
func (w *crowd) counted(t *testing.T, h *host.Host) (n int) {
	t.Helper()
	list := []struct{ Lost int }{}
	host.Check(t, json.Unmarshal([]byte(h.Must(host.HookOn(), "list", "--json").Out), &list))
	if len(list) != len(w.senders) {
		t.Errorf("%d of %d containers are listed", len(list), len(w.senders))
	}
	for _, l := range list {
		n += l.Lost
	}
	return n
}

// lost waits until what was sent last in each container is written. It returns how many messages were sent,
// and how many of them are in no log.
func (w *crowd) lost(t *testing.T) (sent, lost int) {
	t.Helper()
	for _, s := range w.senders {
		last := s.taken[len(s.taken)-1]
		host.Eventually(t, "the last message is written", func() bool { return s.written(t)[last] })
		numbers := s.written(t)
		for _, n := range s.taken {
			if !numbers[n] {
				lost++
			}
		}
		sent += len(s.taken)
	}
	return sent, lost
}

// Many containers that start at once all log, and log again after either process of the service was killed,
// whether a service manager keeps its files or not. What is lost is counted.
func TestNodeCrowd(t *testing.T) {
	host.NeedContainers(t)
	n, err := strconv.Atoi(cmp.Or(os.Getenv(crowdVariable), "20"))
	host.Check(t, err)
	for _, keeps := range []bool{true, false} {
		t.Run(fmt.Sprintf("files are kept: %t", keeps), func(t *testing.T) {
			h := host.NewHost(t)
			m := host.NewManager(t, h, filepath.Join(filepath.Dir(host.HookOn()), "devlogd"))
			m.Start(keeps)
			host.Eventually(t, "the service listens", func() bool { return listens(t, h) })
			var cs []*host.Cheap
			var lines [][]string
			for i := range n {
				c := host.NewCheap(t, h, fmt.Sprint("c", i), host.CheapOptions{})
				cs, lines = append(cs, c), append(lines, c.HookArgs(false, "repair", "--receiver", "node"))
			}
			began := time.Now()
			together(t, h, lines)
			w := startCrowd(t, cs)
			// again waits until all containers log again, and returns how many messages could not be sent.
			again := func(what string) int {
				w.allLog(t)
				refused, longest := w.outage()
				t.Logf("%s: all of %d containers log after %v; %d messages could not be sent, for at most %v", what, n, time.Since(began), refused, longest)
				return refused
			}
			if again("hooks at once") != 0 {
				t.Error("messages could not be sent after the hooks' end")
			}
			began = time.Now()
			h.Must("kill", "-KILL", strconv.Itoa(m.Reader()))
			if again("the reader killed") != 0 {
				t.Error("messages could not be sent when the reader was killed")
			}
			counted := w.counted(t, h)
			began = time.Now()
			m.End("KILL")
			m.Start(keeps)
			if again("the watcher killed") != 0 && keeps {
				t.Error("messages could not be sent when the watcher was killed")
			}
			w.stop()
			if keeps { // and so are its counters
				counted = 0
			}
			counted += w.counted(t, h)
			sent, lost := w.lost(t)
			t.Logf("%d messages were sent; %d are lost, and %d counted", sent, lost, counted)
			if lost > counted {
				t.Errorf("%d messages are lost, and %d counted", lost, counted)
			}
		})
	}
}
