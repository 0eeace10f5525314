//go:build soak

package soak

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// soakLog is a log that is read while it is written.
type soakLog struct {
	b       *box
	path    string
	file    *os.File
	rest    []byte // the beginning of an incomplete line
	seen    map[string]numbers
	lines   int
	counted int // messages that the receiver reported as lost
	ends    int // those of counted that no log took
	upTo    int // messages that the service reported as lost at most, by kills
	notices map[string]int
	recent  []string // notices, for an error message
	stamp   string   // of the last message
	// torn is how many lines may be torn: a killed process may leave half a line.
	torn int
}

// numbers are the numbers of a sender that were seen, in increasing order.
type numbers []int

func (l numbers) last() int {
	if len(l) == 0 {
		return -1
	}
	return l[len(l)-1]
}

func (l numbers) has(n int) bool {
	_, ok := slices.BinarySearch(l, n)
	return ok
}

func newSoakLog(b *box, path string) *soakLog {
	return &soakLog{b: b, path: path, seen: map[string]numbers{}, notices: map[string]int{}}
}

// soakFormat is the shortest possible line of a box, sender and number.
const soakFormat = "Jan  1 00:00:00 %s sender: %s %d .\n"

var (
	soakLine   = regexp.MustCompile(`^([A-Z][a-z][a-z] [ 0-9][0-9] [0-9:]{8}|\d{4}-\S+) \S+ sender: ([a-z]+[0-9]*\.[0-9]+) ([0-9]+) (x*)\.$`)
	soakNotice = regexp.MustCompile(`^[A-Z][a-z][a-z] [ 0-9][0-9] [0-9:]{8} \S+ devlogd\[[0-9]+\]: (.*)$`)
	soakLost   = regexp.MustCompile(`^([0-9]+) messages lost \(`)
	soakEnd    = regexp.MustCompile(`(?m)^devlogd: ([0-9]+) messages lost at the end: /var/log/devlog/([a-z0-9]+)/messages: disk full$`)
	soakUpTo   = regexp.MustCompile(`^up to ([0-9]+) messages lost: devlogd was killed`)
	anyNumber  = regexp.MustCompile(`[0-9]+`)
)

// scan reads what is new, and fails the test for what must not be there.
func (l *soakLog) scan() {
	if l.file == nil {
		f, err := os.Open(l.path)
		if err != nil {
			return // not there yet
		}
		l.file = f
	}
	l.read()
}

// read reads on from the last whole line: a receiver that ends takes back what it has of another.
func (l *soakLog) read() {
	_, err := l.file.Seek(-int64(len(l.rest)), io.SeekCurrent)
	host.Check(l.b.s.t, err)
	l.rest = nil
	buf := make([]byte, 256<<10)
	for {
		n, _ := l.file.Read(buf)
		if n <= 0 {
			return
		}
		l.rest = append(l.rest, buf[:n]...)
		for {
			line, rest, whole := bytes.Cut(l.rest, []byte{'\n'})
			if !whole {
				break
			}
			l.line(line)
			l.rest = rest
		}
		l.rest = bytes.Clone(l.rest)
	}
}

// renamed continues with the new file after the old one was renamed to old. It removes that.
func (l *soakLog) renamed(old string) {
	l.b.s.t.Helper()
	l.begin()
	host.Check(l.b.s.t, os.Remove(old))
}

// begin continues with a new file, after the end of the old one. No process may still write to the
// old one.
func (l *soakLog) begin() {
	t := l.b.s.t
	t.Helper()
	l.scan()
	if l.file != nil {
		if len(l.rest) > 0 {
			l.b.s.wrong("the log of %s, renamed, ends in %q", l.b.name, l.rest)
			l.rest = nil
		}
		host.Check(t, l.file.Close())
		l.file = nil
	}
}

func (l *soakLog) line(line []byte) {
	b := l.b
	l.lines++
	if m := soakLine.FindSubmatch(line); m != nil {
		id, n := string(m[2]), atoi(m[3])
		l.stamp = string(m[1])
		from, _, _ := bytes.Cut(m[2], []byte{'.'})
		switch seen := l.seen[id]; {
		case len(m[4]) != n%200:
			b.s.wrong("in the log of %s a torn line: %q", b.name, line)
		case n <= seen.last():
			b.s.wrong("in the log of %s message %d of %s comes after %d", b.name, n, id, seen.last())
		case string(from) != b.name && b != b.s.host:
			b.s.wrong("in the log of %s a message of another: %q", b.name, line)
		default:
			l.seen[id] = append(seen, n)
			if b == b.s.host && b.s.settledElsewhere(string(from), id, n) {
				b.s.wrong("message %d of %s is in two logs", n, id)
			}
		}
		return
	}
	if b == b.s.host { // other programs log there too, and its daemon is not devlog's
		return
	}
	m := soakNotice.FindSubmatch(line)
	switch {
	case m == nil && l.torn > 0:
		l.torn--
		b.s.tornLines++
	case m == nil:
		b.s.wrong("in the log of %s a line that nobody sent: %q", b.name, line)
	default:
		if lost := soakLost.FindSubmatch(m[1]); lost != nil {
			l.counted += atoi(lost[1])
		}
		if lost := soakUpTo.FindSubmatch(m[1]); lost != nil && b.served {
			n := atoi(lost[1])
			if l.upTo += n; n > maxBatch && b.fullIn != b.s.round {
				b.s.wrong("in the log of %s a kill that costs more than a batch: %q", b.name, line)
			}
		}
		l.recent = append(l.recent, string(line))
		l.notices[string(anyNumber.ReplaceAll(m[1], []byte("N")))]++
	}
}

// scanService counts what the service's readers reported as lost at their end: no log took it.
func (l *soakLog) scanService() {
	if !l.b.served {
		return
	}
	ends := 0
	for _, m := range soakEnd.FindAllStringSubmatch(l.b.s.service.Said(), -1) {
		if m[2] == l.b.name {
			ends += atoi([]byte(m[1]))
		}
	}
	l.counted += ends - l.ends
	l.ends = ends
}

// settledElsewhere returns whether a message is known to be in the log of its own box.
func (s *soak) settledElsewhere(name, id string, n int) bool {
	for _, b := range s.boxes {
		for _, x := range b.senders {
			if b.name == name && x.id == id {
				return n < x.done && b.log.seen[id].has(n)
			}
		}
	}
	return false
}

func atoi(text []byte) int {
	n, _ := strconv.Atoi(string(text)) // they are digits
	return n
}

// said returns how many times the receiver logged that text, with N for each number.
func (l *soakLog) said(text string) (n int) {
	l.scan()
	for notice, times := range l.notices {
		if ok, _ := regexp.MatchString("^"+text, notice); ok {
			n += times
		}
	}
	return n
}

// full fills the box's file system. The result frees the space again.
func (b *box) full() (free func()) {
	t := b.s.t
	t.Helper()
	name := b.s.h.Path(b.dir + "/filler")
	f, err := os.Create(name)
	host.Check(t, err)
	var size int64
	b.s.eventually("the disk of "+b.name+" is full", func() bool {
		var st unix.Statfs_t
		host.Check(t, unix.Fstatfs(int(f.Fd()), &st))
		if n := int64(st.Bfree * uint64(st.Bsize)); n > 0 && unix.Fallocate(int(f.Fd()), 0, size, n) == nil {
			size += n
		}
		host.Check(t, unix.Fstatfs(int(f.Fd()), &st))
		return st.Bfree == 0
	})
	host.Check(t, f.Close())
	b.fullIn = b.s.round
	return func() { host.Check(t, os.Remove(name)) }
}
