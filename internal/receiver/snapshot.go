package receiver

import (
	"fmt"
	"strings"
	"time"

	"devlog/internal/output"
	"devlog/internal/syslog"
)

// stateName begins a state, and stateHead that of this version. A program reads
// every number: what it does not know it leaves out, and what is missing has the
// value of a receiver that has just started.
const (
	stateName = "devlogd-state "
	stateHead = stateName + "1"
)

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
	// unreadable is why the description could not be read that came with the open
	// files; nil if it could.
	unreadable error
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
	fd     int
	kind   string // "dgram" or "stream", for programs that do not ask the kernel
	path   string
	place  int // index in places, or -1
	id     fileID
	run    int
	debt   time.Duration // until its bucket is full
	socket *socket       // that this program has made of it
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
		&s.highWater, &s.evicted, &s.readBack, &s.overwritten, &s.reopens, &s.repairs, &s.upgrades, &s.unsaid, &s.fresh,
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

// parseSnapshot reads a snapshot, of whatever version. The error says that it is
// none.
func parseSnapshot(data []byte) (*snapshot, error) {
	head, rest, _ := strings.Cut(string(data), "\n")
	if !strings.HasPrefix(head, stateName) {
		return nil, fmt.Errorf("read the state of the receiver: it begins with %.40q, not with %q", head, stateName)
	}
	s := &snapshot{store: -1, base: baseState{init: -1, root: -1}}
	for rest != "" {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		key, words, _ := strings.Cut(line, " ")
		s.read(key, &coder{in: words, reading: true})
	}
	return s, nil
}

// read reads the words of one line.
func (s *snapshot) read(key string, c *coder) {
	switch key {
	case "base":
		s.base.code(c)
	case "place":
		p := &placeState{fd: -1}
		p.code(c)
		s.places = append(s.places, p)
	case "socket":
		k := &socketState{fd: -1, place: -1}
		k.code(c)
		s.sockets = append(s.sockets, k)
	case "connection":
		p := &connState{fd: -1, from: -1}
		p.code(c)
		s.conns = append(s.conns, p)
	case "kernel":
		s.kernel = &kernelState{fd: -1}
		s.kernel.code(c)
	case "keeper":
		s.keeper = &keeperState{}
		s.keeper.code(c)
	case "store":
		c.int(&s.store)
	case "sandbox":
		s.sandbox = &sandboxState{mark: -1}
		s.sandbox.code(c)
	case "awaits":
		s.awaits = true
	case "output":
		o := &outputState{State: output.State{FD: -1}}
		o.code(c)
		s.outputs = append(s.outputs, o)
	case "lost":
		if len(s.outputs) > 0 {
			o := s.outputs[len(s.outputs)-1]
			o.Lost = append(o.Lost, output.Loss{})
			codeLoss(&o.Lost[len(o.Lost)-1], c)
		}
	}
}
