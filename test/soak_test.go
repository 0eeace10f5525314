//go:build soak

package test

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
)

// soak is a host with its syslog daemon and many containers, in each of which a
// sender sends, while all goes wrong that can.
type soak struct {
	t      *testing.T
	h      *Host
	bin    string // the programs, of which devlog-hook can be told to die
	rng    *rand.Rand
	daemon *Daemon
	host   *box
	boxes  []*box
	spans  []span // in which /dev/log is not what it should be
	round  int

	// For the report.
	start                                 time.Time
	faults                                map[string]int
	tornLines, injected, healers, strayed int
}

// A host, its daemon and twenty containers have one fault after the other, and
// several at once. All the time each message is in its own log, whole and in
// order, or its loss is accounted for; at the end nothing is left.
//
// SOAK_TIME (10m) is how long; without it each fault comes twice. SOAK_SEED
// repeats a run's faults, SOAK_FAULTS is a regular expression of those to choose
// from. The machine's clock is everybody's, and left alone: no namespace has a
// CLOCK_REALTIME of its own.
func TestSoak(t *testing.T) {
	needContainers(t, "runc", "strace")
	needDaemons(t)
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("SOAK_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		check(t, err)
	}
	var limit time.Duration
	if text := os.Getenv("SOAK_TIME"); text != "" {
		var err error
		limit, err = time.ParseDuration(text)
		check(t, err)
	}
	t.Logf("SOAK_SEED=%d", seed)
	s := newSoak(t, seed)
	before, mounts := hostTree(s.h), table(t, s.h, 1)
	s.begin()
	if limit > 0 {
		for end := time.Now().Add(limit); time.Now().Before(end) && !t.Failed(); {
			s.next(s.some())
		}
	} else {
		for _, faults := range append(s.each(), s.each()...) {
			if !t.Failed() {
				s.next(faults)
			}
		}
	}
	s.finish()
	s.report()
	if !t.Failed() {
		s.leave(before, mounts)
	}
}

func newSoak(t *testing.T, seed uint64) *soak {
	t.Helper()
	s := &soak{t: t, h: NewHost(t), bin: t.TempDir(), rng: rand.New(rand.NewPCG(seed, 0)), start: time.Now(), faults: map[string]int{}}
	crash, err := crashDir()
	check(t, err)
	for _, program := range []string{"devlogd", "devlog-hook"} {
		check(t, command("cp", filepath.Join(crash, program), s.bin))
	}
	check(t, command("cp", buildC(t, "testdata/numbered.c"), s.bin))
	return s
}

// begin starts everything, and sees that it works.
func (s *soak) begin() {
	s.t.Helper()
	s.daemon = NewDaemon(s.t, s.h, daemonKinds[s.rng.IntN(2)], "/dev/log")
	s.daemon.Start()
	s.prepare()
	s.host = &box{s: s, name: "host", how: "again", args: func(args ...string) []string { return args }}
	s.host.log = newSoakLog(s.host, s.daemon.Log)
	s.host.startSender(filepath.Join(s.bin, "numbered"))
	for i := range 18 {
		s.newCheapBox(fmt.Sprintf("n%d", i), i%4 < 2)
	}
	s.newRuncBox("r0")
	s.newRuncBox("r1")
	for _, b := range s.boxes {
		b.begin()
	}
	s.host.works()
	for _, b := range s.boxes {
		b.works()
		b.fds = s.descriptors(b.mustReceiver())
	}
	s.t.Logf("%s: the host's daemon is %s; all works", s.now(), s.daemon.args[2])
}

func (s *soak) now() string { return fmt.Sprintf("%6.1fs", time.Since(s.start).Seconds()) }

// strike is a fault of a box.
type strike struct {
	fault
	at *box
}

// some chooses by chance faults that are to come at once: each of another container, and
// at most one of the host.
func (s *soak) some() (list []strike) {
	at := s.rng.Perm(len(s.boxes))
	boxFaults, hostFaults := chosen(boxFaults), chosen(hostFaults)
	for i := range s.rng.IntN(4) + 1 {
		for b := s.boxes[at[i]]; ; {
			if f := boxFaults[s.rng.IntN(len(boxFaults))]; f.not == nil || !f.not(b) {
				list = append(list, strike{f, b})
				break
			}
		}
	}
	if len(hostFaults) > 0 && s.rng.IntN(2) == 0 {
		list = append(list, strike{hostFaults[s.rng.IntN(len(hostFaults))], s.host})
	}
	s.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// chosen are the faults that SOAK_FAULTS, a regular expression, names; all without
// it.
func chosen(list []fault) []fault {
	only := regexp.MustCompile(os.Getenv("SOAK_FAULTS"))
	return slices.DeleteFunc(slices.Clone(list), func(f fault) bool { return !only.MatchString(f.name) })
}

// each chooses every fault once, up to three and one of the host at once. Of the
// host's there are not two: one of them would wait for what the other has taken.
func (s *soak) each() [][]strike {
	rounds := make([][]strike, max((len(boxFaults)+2)/3, len(hostFaults)))
	for i, n := range s.rng.Perm(len(boxFaults)) {
		f, list := boxFaults[n], &rounds[i%len(rounds)]
		at := s.boxes[s.rng.IntN(len(s.boxes))]
		for f.not != nil && f.not(at) || slices.ContainsFunc(*list, func(x strike) bool { return x.at == at }) {
			at = s.boxes[s.rng.IntN(len(s.boxes))]
		}
		*list = append(*list, strike{f, at})
	}
	for i, n := range s.rng.Perm(len(hostFaults)) {
		rounds[i] = append(rounds[i], strike{hostFaults[n], s.host})
	}
	return rounds
}

// next has some faults, lets a while pass, and ends them in another order.
func (s *soak) next(list []strike) {
	s.t.Helper()
	s.round++
	ends := make([]func(), len(list))
	for i, x := range list {
		s.faults[x.name]++
		s.t.Logf("%s: round %d: %s: %s", s.now(), s.round, x.at.name, x.name)
		ends[i] = x.begin(x.at)
	}
	s.host.progress(s.rng.IntN(30) + 1)
	for _, i := range s.rng.Perm(len(ends)) {
		ends[i]()
	}
	s.host.works()
	for _, b := range append(slices.Clone(s.boxes), s.host) {
		b.log.scan()
	}
}

// finish ends the senders, and waits until all is accounted for.
func (s *soak) finish() {
	s.t.Helper()
	all := append(slices.Clone(s.boxes), s.host)
	for _, b := range all {
		if !s.t.Failed() {
			b.works()
		}
	}
	for _, b := range all {
		b.endSender(b.sender)
	}
	var sum account
	waitFor(func() bool {
		sum = account{}
		for _, b := range all {
			b.log.scan()
			sum.add(b.account())
		}
		return len(sum.wrong) == 0
	})
	for _, wrong := range sum.wrong {
		s.t.Error(wrong)
	}
}

// report says what was done.
func (s *soak) report() {
	var sum account
	counted, lines := 0, 0
	for _, b := range append(slices.Clone(s.boxes), s.host) {
		sum.add(b.account())
		counted += b.log.counted
		lines += b.log.lines
	}
	s.t.Logf("%s: %d rounds; %d messages sent, %d sends failed, %d lines; lost: %d with who was killed, %d of %d counted; to the host meanwhile: %d; torn lines %d, injected errors %d, killed healers %d, senders that stayed with the host %d",
		s.now(), s.round, sum.sent, sum.failed, lines, sum.killed, sum.unsaid, counted, sum.leaked, s.tornLines, s.injected, s.healers, s.strayed)
	var names []string
	for name, n := range s.faults {
		names = append(names, fmt.Sprintf("%s: %d", name, n))
	}
	slices.Sort(names)
	s.t.Logf("faults: %s", strings.Join(names, "; "))
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

// leave ends everything, and sees that nothing is left.
func (s *soak) leave(before, mounts []string) {
	t := s.t
	t.Helper()
	for i, b := range s.boxes {
		pid := b.mustReceiver()
		var more []string
		if !waitFor(func() (ok bool) {
			more, ok = b.kept(pid)
			return ok
		}) {
			t.Errorf("the receiver of %s has open %q, and had at first only %q", b.name, more, b.fds)
		}
		if r := s.h.Do(b.hook("check")...); r.Code != 0 {
			t.Errorf("check of %s: %+v", b.name, r)
		}
		if i%2 == 0 {
			s.h.Must(b.hook("undo")...)
		}
		b.end()
	}
	s.h.Must(filepath.Join(s.bin, "devlog-hook"), "undo", "--host")
	info, err := os.Lstat(s.h.Path("/dev/log"))
	if check(t, err); info.Mode()&os.ModeSocket == 0 {
		t.Errorf("/dev/log is %s, and should be the daemon's", info.Mode())
	}
	s.daemon.Stop()
	removeLog(t, s.h) // which not every daemon does
	s.h.expectNoProcesses()
	for _, b := range s.boxes {
		check(t, b.log.file.Close())
		s.h.Must("umount", "-n", b.dir)
		s.h.Must("rmdir", b.dir)
	}
	s.h.Must("rmdir", "/var/log/devlog")
	if after := table(t, s.h, 1); !slices.Equal(mounts, after) {
		t.Errorf("mounts at the beginning:\n%s\nand at the end:\n%s", strings.Join(mounts, "\n"), strings.Join(after, "\n"))
	}
	expectNew(t, s.h, before)
}
