package receiver

import (
	"fmt"
	"strings"
	"time"

	"devlog/internal/output"
	"devlog/internal/syslog"
)

// stateHead begins a state. Its number changes with what must be understood: a
// program that knows another one refuses to take over. Lines and words at the
// end of one that it does not know are what it can do without.
const stateHead = "devlogd-state 1"

// snapshot is what a receiver leaves to the program that replaces its own: open
// files, which keep their descriptors, and what would be lost with the memory.
type snapshot struct {
	base    baseState
	sockets []*socketState
	places  []*placeState
	conns   []*connState
	kernel  *kernelState // nil if the kernel's log is not read
	keeper  *keeperState // nil if the repair is not kept
	outputs []*outputState
	store   int           // descriptor of what outlives the process, or -1
	sandbox *sandboxState // nil if the program has not confined itself
	awaits  bool          // SIGTERM came, and only the container's end is waited for
}

// sandboxState is how the process is confined, for good.
type sandboxState struct {
	mark     int  // the file whose name says how, or -1
	landlock bool // other processes are not to be looked into
}

// connState is a connection of a stream socket.
type connState struct {
	fd, framing int
	from        int // index in sockets, or -1
	skip        bool
	sender      syslog.Sender
	rest        []byte // of an incomplete message
}

// kernelState is the kernel's log as a source.
type kernelState struct {
	fd       int
	sequence uint64
	any      bool
}

// baseState is what there is once.
type baseState struct {
	version string
	open    bool // the outputs are open
	init    int  // descriptors, or -1
	root    int
	counters
	unsaid uint64 // of limits
}

// socketState is a socket to receive from.
type socketState struct {
	fd    int
	kind  string // "dgram" or "stream"
	path  string
	place int // index in places, or -1
	id    fileID
	run   int
	debt  time.Duration // until its bucket is full
}

// placeState is a place.
type placeState struct {
	fd    int
	name  string
	flags int
	id    fileID
}

// keeperState is what a keeper knows of the past.
type keeperState struct {
	text, failed, problem             string
	aside, unsaid                     bool
	runs, retries                     int
	delay                             time.Duration
	repaired                          uint64
	last, since, at, saidAt, vacantAt time.Time
}

// outputState is an output with its tap.
type outputState struct {
	path                   string
	kind                   int
	taken, bytes, repeated uint64
	high                   int
	output.State
}

func (s *baseState) code(c *coder) {
	c.text(&s.version)
	c.bool(&s.open)
	c.int(&s.init)
	c.int(&s.root)
	c.time(&s.started)
	for _, p := range []*uint64{
		&s.received, &s.bytes, &s.own, &s.routed, &s.unrouted, &s.dropped, &s.told, &s.cut, &s.throttled,
		&s.highWater, &s.evicted, &s.readBack, &s.overwritten, &s.reopens, &s.repairs, &s.upgrades, &s.unsaid,
	} {
		c.number(p)
	}
}

func (id *fileID) code(c *coder) {
	c.number(&id.Dev)
	c.number(&id.Ino)
}

func (s *socketState) code(c *coder) {
	c.int(&s.fd)
	c.text(&s.kind)
	c.text(&s.path)
	c.int(&s.place)
	s.id.code(c)
	c.int(&s.run)
	c.duration(&s.debt)
}

func (s *connState) code(c *coder) {
	c.int(&s.fd)
	c.int(&s.framing)
	c.int(&s.from)
	c.bool(&s.skip)
	c.bool(&s.sender.Known)
	pid := int64(s.sender.PID)
	c.int64(&pid)
	s.sender.PID = int32(pid)
	for _, p := range []*uint32{&s.sender.UID, &s.sender.GID} {
		n := uint64(*p)
		c.number(&n)
		*p = uint32(n)
	}
	c.bytes(&s.rest)
}

func (s *kernelState) code(c *coder) {
	c.int(&s.fd)
	c.number(&s.sequence)
	c.bool(&s.any)
}

func (s *sandboxState) code(c *coder) {
	c.int(&s.mark)
	c.bool(&s.landlock)
}

func (s *placeState) code(c *coder) {
	c.int(&s.fd)
	c.text(&s.name)
	c.int(&s.flags)
	s.id.code(c)
}

func (s *keeperState) code(c *coder) {
	c.text(&s.text)
	c.text(&s.failed)
	c.text(&s.problem)
	c.bool(&s.aside)
	c.bool(&s.unsaid)
	c.int(&s.runs)
	c.int(&s.retries)
	c.duration(&s.delay)
	c.number(&s.repaired)
	for _, p := range []*time.Time{&s.last, &s.since, &s.at, &s.saidAt, &s.vacantAt} {
		c.time(p)
	}
}

func (s *outputState) code(c *coder) {
	c.text(&s.path)
	c.int(&s.kind)
	c.number(&s.taken)
	c.number(&s.bytes)
	c.number(&s.repeated)
	c.int(&s.high)
	c.number(&s.Written)
	c.int(&s.Torn)
	c.bool(&s.Ours)
	c.bool(&s.Sync)
	c.number(&s.Unsaid)
	c.text(&s.UnsaidBy)
	c.int(&s.FD)
	c.int(&s.Used)
	c.duration(&s.Age)
	c.bytes(&s.Pending)
}

func codeLoss(l *output.Loss, c *coder) {
	c.text(&l.Reason)
	c.number(&l.N)
}

// receives says that there are outputs to open.
func (s *snapshot) receives() bool { return s.base.open || len(s.sockets) > 0 }

// format writes the state.
func (s *snapshot) format() []byte {
	c := &coder{out: []byte(stateHead + "\n")}
	line := func(key string, code func(*coder)) {
		c.out = append(c.out, key...)
		code(c)
		c.out = append(c.out, '\n')
	}
	line("base", s.base.code)
	for _, p := range s.places {
		line("place", p.code)
	}
	for _, p := range s.sockets {
		line("socket", p.code)
	}
	for _, p := range s.conns {
		line("connection", p.code)
	}
	if s.kernel != nil {
		line("kernel", s.kernel.code)
	}
	if s.keeper != nil {
		line("keeper", s.keeper.code)
	}
	if s.store >= 0 {
		line("store", func(c *coder) { c.int(&s.store) })
	}
	if s.sandbox != nil {
		line("sandbox", s.sandbox.code)
	}
	if s.awaits {
		line("awaits", func(*coder) {})
	}
	for _, p := range s.outputs {
		line("output", p.code)
		for i := range p.Lost {
			line("lost", func(c *coder) { codeLoss(&p.Lost[i], c) })
		}
	}
	return c.out
}

// parseSnapshot reads a snapshot.
func parseSnapshot(data []byte) (*snapshot, error) {
	head, rest, _ := strings.Cut(string(data), "\n")
	if head != stateHead {
		return nil, fmt.Errorf("read the state of the receiver: it begins with %.40q, and this program, devlogd %s, reads %q", head, Version, stateHead)
	}
	s := &snapshot{store: -1}
	seen := 0
	for n := 2; rest != ""; n++ {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		key, words, _ := strings.Cut(line, " ")
		c := &coder{in: words, reading: true}
		switch key {
		case "base":
			s.base.code(c)
			seen++
		case "place":
			s.places = append(s.places, &placeState{})
			s.places[len(s.places)-1].code(c)
		case "socket":
			s.sockets = append(s.sockets, &socketState{})
			s.sockets[len(s.sockets)-1].code(c)
		case "connection":
			s.conns = append(s.conns, &connState{})
			s.conns[len(s.conns)-1].code(c)
		case "kernel":
			s.kernel = &kernelState{}
			s.kernel.code(c)
		case "keeper":
			s.keeper = &keeperState{}
			s.keeper.code(c)
		case "store":
			c.int(&s.store)
		case "sandbox":
			s.sandbox = &sandboxState{}
			s.sandbox.code(c)
		case "awaits":
			s.awaits = true
		case "output":
			s.outputs = append(s.outputs, &outputState{})
			s.outputs[len(s.outputs)-1].code(c)
		case "lost":
			if len(s.outputs) == 0 {
				return nil, fmt.Errorf("read the state of the receiver, line %d: no output before it", n)
			}
			o := s.outputs[len(s.outputs)-1]
			o.Lost = append(o.Lost, output.Loss{})
			codeLoss(&o.Lost[len(o.Lost)-1], c)
		}
		if c.err != nil {
			return nil, fmt.Errorf("read the state of the receiver, line %d (%.20s): %w", n, key, c.err)
		}
	}
	if seen != 1 {
		return nil, fmt.Errorf("read the state of the receiver: %d lines %q, want 1", seen, "base")
	}
	return s, s.validate()
}

// validate says what this program cannot go on with.
func (s *snapshot) validate() error {
	for _, k := range s.sockets {
		if k.kind != kindDgram && k.kind != kindStream {
			return fmt.Errorf("read the state of the receiver: a socket of type %q is more than this program knows", k.kind)
		}
		if k.place < -1 || k.place >= len(s.places) {
			return fmt.Errorf("read the state of the receiver: place %d of %d", k.place, len(s.places))
		}
	}
	for _, c := range s.conns {
		if c.from < -1 || c.from >= len(s.sockets) {
			return fmt.Errorf("read the state of the receiver: socket %d of %d", c.from, len(s.sockets))
		}
	}
	return nil
}
