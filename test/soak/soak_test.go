//go:build soak

package soak

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"devlog/test/host"
)

// soak is a host with its syslog daemon and many containers with a sender each, while everything goes
// wrong that can.
type soak struct {
	t         *testing.T
	h         *host.Host
	bin       string // the programs; a test can make this devlog-hook die
	rng       *rand.Rand
	daemon    *host.Daemon
	host      *box
	boxes     []*box
	service   *host.Manager
	spans     []span // in which /dev/log is wrong
	outage    outage
	round     int
	missed    bool        // the present fault has not happened
	struck    []*box      // with a fault
	neighbour *host.Cheap // a hostile container

	// What is checked all the time.
	wrongs     []string // what was wrong
	trial      bool     // a test wants wrongs
	looked     time.Time
	tried      int // how many of the host's messages were checked
	watcherFDs []string
	serviceUse [2]serviceUse
	before     []string // the host's files at first
	bare       []string // and its mounts
	mounts     []string // and those with the containers' logs

	// For the report.
	start                                      time.Time
	faults, hits                               map[string]int
	tornLines, injected, stuck, strayed, looks int
	gap                                        time.Duration // the longest between two looks
}

// miss records that the present fault has not happened.
func (s *soak) miss() { s.missed = true }

// A host, its daemon and twenty containers have faults, one after the other and several at once. At
// any time each message is in its own log, whole and in order, or its loss is accounted for. At the
// end nothing is left.
//
// SOAK_TIME is how long; each fault happens at least twice. SOAK_SEED repeats a run's faults.
// SOAK_FAULTS is a regular expression for the faults to choose from.
func TestSoak(t *testing.T) {
	host.NeedContainers(t, "runc", "strace")
	host.NeedDaemons(t)
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("SOAK_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		host.Check(t, err)
	}
	var limit time.Duration
	if text := os.Getenv("SOAK_TIME"); text != "" {
		var err error
		limit, err = time.ParseDuration(text)
		host.Check(t, err)
	}
	t.Logf("SOAK_SEED=%d", seed)
	s := newSoak(t, seed)
	s.begin(20)
	end := time.Now().Add(limit)
	for _, faults := range append(s.each(), s.each()...) {
		if !t.Failed() {
			s.next(faults)
		}
	}
	for time.Now().Before(end) && !t.Failed() {
		s.next(s.some())
	}
	s.finish()
	s.report()
	if !t.Failed() {
		s.leave()
	}
}

func newSoak(t *testing.T, seed uint64) *soak {
	t.Helper()
	s := &soak{t: t, h: host.NewHost(t), bin: t.TempDir(), rng: rand.New(rand.NewPCG(seed, 0)), start: time.Now(), faults: map[string]int{}, hits: map[string]int{}}
	crash, err := host.CrashDir()
	host.Check(t, err)
	for _, program := range []string{"devlogd", "devlog-hook"} {
		host.Check(t, host.Command("cp", filepath.Join(crash, program), s.bin))
	}
	host.Check(t, host.Command("cp", host.BuildC(t, "testdata/numbered.c"), s.bin))
	return s
}

// begin starts everything, with that many containers, and checks that it works.
func (s *soak) begin(containers int) {
	s.t.Helper()
	s.makeUser()
	s.before, s.bare = host.Tree(s.h), host.Table(s.t, s.h, 1)
	s.daemon = host.NewDaemon(s.t, s.h, host.DaemonKinds[s.rng.IntN(2)], "/dev/log")
	s.daemon.Start()
	s.prepare()
	s.startService()
	s.host = &box{s: s, name: "host", how: "again", args: func(args ...string) []string { return args }}
	s.host.log = newSoakLog(s.host, s.daemon.Log)
	s.host.startSender(filepath.Join(s.bin, "numbered"))
	for i := range containers - 2 {
		s.newCheapBox(fmt.Sprintf("n%d", i), i%3 == 0, i%3 == 2)
	}
	s.newRuncBox("r0", false)
	s.newRuncBox("r1", true)
	s.startNeighbour()
	s.mounts = host.Table(s.t, s.h, 1) // with their logs
	for _, b := range s.boxes {
		b.begin()
	}
	s.host.works()
	for _, b := range s.boxes {
		b.works()
		if !b.served {
			b.fds = s.watching(b.mustReceiver())
		}
	}
	s.seeService()
	s.watcherFDs = s.watching(s.watcher())
	s.t.Logf("%s: the host's daemon is %s; all works", s.now(), s.daemon.Args[2])
}

func (s *soak) now() string { return fmt.Sprintf("%6.1fs", time.Since(s.start).Seconds()) }

// strike is a fault that a box gets.
type strike struct {
	fault
	at *box
}

// some chooses faults at random that happen together: each for another container, and at most one of
// the host, and one of its service.
func (s *soak) some() (list []strike) {
	at := s.rng.Perm(len(s.boxes))
	boxFaults := chosen(boxFaults)
	for i := range min(s.rng.IntN(4)+1, 4*len(boxFaults)) {
		for b := s.boxes[at[i]]; ; {
			if f := boxFaults[s.rng.IntN(len(boxFaults))]; f.not == nil || !f.not(b) {
				list = append(list, strike{f, b})
				break
			}
		}
	}
	for _, faults := range [][]fault{chosen(hostFaults), chosen(serviceFaults)} {
		if len(faults) > 0 && s.rng.IntN(2) == 0 {
			list = append(list, strike{faults[s.rng.IntN(len(faults))], s.host})
		}
	}
	s.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// chosen returns the faults that match SOAK_FAULTS; all without it.
func chosen(list []fault) []fault {
	only := regexp.MustCompile(os.Getenv("SOAK_FAULTS"))
	return slices.DeleteFunc(slices.Clone(list), func(f fault) bool { return !only.MatchString(f.name) })
}

// each chooses every fault once: up to three at the same time, one of the host and one of its service. Two
// of the host would wait for each other.
func (s *soak) each() [][]strike {
	boxFaults, hostFaults, serviceFaults := chosen(boxFaults), chosen(hostFaults), chosen(serviceFaults)
	rounds := make([][]strike, max((len(boxFaults)+2)/3, len(hostFaults), len(serviceFaults)))
	for i, n := range s.rng.Perm(len(boxFaults)) {
		f, list := boxFaults[n], &rounds[i%len(rounds)]
		at := s.boxes[s.rng.IntN(len(s.boxes))]
		for f.not != nil && f.not(at) || slices.ContainsFunc(*list, func(x strike) bool { return x.at == at }) {
			at = s.boxes[s.rng.IntN(len(s.boxes))]
		}
		*list = append(*list, strike{f, at})
	}
	for _, faults := range [][]fault{hostFaults, serviceFaults} {
		for i, n := range s.rng.Perm(len(faults)) {
			rounds[i] = append(rounds[i], strike{faults[n], s.host})
		}
	}
	return rounds
}

// next begins these faults, lets a while pass, and ends them in another order.
func (s *soak) next(list []strike) {
	s.t.Helper()
	s.round++
	s.struck = nil
	for _, x := range list {
		s.struck = append(s.struck, x.at)
	}
	if !s.service.Keeps && slices.ContainsFunc(list, func(x strike) bool { return x.kept }) {
		s.restartService("TERM", true)
		s.whole()
	}
	ends, missed := make([]func(), len(list)), make([]bool, len(list))
	for i, x := range list {
		s.faults[x.name]++
		s.t.Logf("%s: round %d: %s: %s", s.now(), s.round, x.at.name, x.name)
		s.missed = false
		ends[i] = x.begin(x.at)
		missed[i] = s.missed
	}
	s.host.progress(s.rng.IntN(30) + 1)
	for _, i := range s.rng.Perm(len(ends)) {
		ends[i]()
		if !missed[i] {
			s.hits[list[i].name]++
		}
	}
	s.host.works()
	s.whole()
	s.settle()
	if s.round%10 == 0 {
		s.calm()
	}
}

// finish ends the senders, and waits until every message is accounted for.
func (s *soak) finish() {
	s.t.Helper()
	for _, b := range s.all() {
		if !s.t.Failed() {
			b.works()
		}
	}
	for _, b := range s.all() {
		b.endSender(b.sender)
	}
	s.settle()
}

// report logs what was done. A fault that never happened is an error of this test.
func (s *soak) report() {
	var sum account
	counted, lines := 0, 0
	for _, b := range s.all() {
		sum.add(b.total)
		counted += b.log.counted
		lines += b.log.lines
	}
	s.t.Logf("%s: %d rounds; %d messages sent, %d sends failed, %d lines; lost: %d with who was killed, %d of %d counted, and up to %d by kills of the service; to the host meanwhile: %d, and %d that it did not write; torn lines %d, injected errors %d, the service without sockets for at most %v, straces that did not end %d, senders that stayed with the host %d; looked %d times at everything, at least each %v",
		s.now(), s.round, sum.sent, sum.failed, lines, sum.killed, sum.unsaid, counted, sum.upTo, sum.leaked, sum.astray, s.tornLines, s.injected, s.outage.most.Round(time.Millisecond), s.stuck, s.strayed, s.looks, s.gap.Round(time.Millisecond))
	var names []string
	for _, f := range slices.Concat(chosen(boxFaults), chosen(hostFaults), chosen(serviceFaults)) {
		hits, n := s.hits[f.name], s.faults[f.name]
		names = append(names, fmt.Sprintf("%s: %d of %d", f.name, hits, n))
		if hits == 0 && !s.t.Failed() {
			s.t.Errorf("%q has not come about in %d attempts", f.name, n)
		}
	}
	slices.Sort(names)
	s.t.Logf("faults that came about: %s", strings.Join(names, "; "))
	notices := map[string]int{}
	for _, b := range s.boxes {
		for n, times := range b.log.notices {
			notices[n] += times
		}
	}
	for n, times := range notices {
		s.t.Logf("receivers said %d times: %s", times, n)
	}
}

// leave ends everything, and checks that nothing is left.
func (s *soak) leave() {
	t := s.t
	t.Helper()
	s.calm()
	for i, b := range s.boxes {
		if r := s.h.Do(b.hook("check")...); r.Code != 0 {
			t.Errorf("check of %s: %+v", b.name, r)
		}
		if i%2 == 0 {
			s.h.Must(b.hook("undo")...)
		}
		b.end()
	}
	s.stopNeighbour()
	s.stopService()
	s.h.Must(filepath.Join(s.bin, "devlog-hook"), "undo", "--host")
	info, err := os.Lstat(s.h.Path("/dev/log"))
	if host.Check(t, err); info.Mode()&os.ModeSocket == 0 {
		t.Errorf("/dev/log is %s, and should be the daemon's", info.Mode())
	}
	s.daemon.Stop()
	host.RemoveLog(t, s.h) // some daemons leave it
	s.h.ExpectNoProcesses()
	for _, b := range s.boxes {
		host.Check(t, b.log.file.Close())
		s.h.Must("umount", "-n", b.dir)
		s.h.Must("rmdir", b.dir)
	}
	s.h.Must("rmdir", "/var/log/devlog")
	if wrong := s.left(s.bare); wrong != "" {
		t.Error(wrong)
	}
	host.ExpectNew(t, s.h, s.before)
}

// left returns the differences between these mounts of the host and the present ones.
func (s *soak) left(mounts []string) string {
	if after := host.Table(s.t, s.h, 1); !slices.Equal(mounts, after) {
		return fmt.Sprintf("mounts at the beginning:\n%s\nand now:\n%s", strings.Join(mounts, "\n"), strings.Join(after, "\n"))
	}
	return ""
}
