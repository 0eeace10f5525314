package handover

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A description is JSON. Earlier releases only know lines of words in a fixed order. These are
// written too, so that an upgrade can be reverted: an earlier release ignores the line with
// the JSON. It loses what the lines cannot express.
const (
	wordsHead = "devlogd-state "
	wordsKey  = "json"
)

// wordCounters are the counters in the lines.
var wordCounters = []string{
	"received", "bytes", "own", "routed", "unrouted", "dropped", "told", "cut", "throttled",
	"highWater", "evicted", "readBack", "overwritten", "reopens", "repairs", "upgrades", "unsaid",
}

// Format writes the description.
func (d *Description) Format() []byte {
	w := &words{out: []byte(wordsHead + "1\n")}
	d.base(w)
	for _, p := range d.Places {
		w.line("place", p.words()...)
	}
	for _, s := range d.Sockets {
		kind := kindOf(s.FD)
		w.line("socket", s.words(&kind)...)
	}
	for _, c := range d.Connections {
		w.line("connection", c.words()...)
	}
	if k := d.Kernel; k != nil {
		w.line("kernel", k.words()...)
	}
	if d.Watcher != nil {
		w.line("keeper", d.Watcher.words()...)
	}
	if d.Files.Store >= 0 {
		w.line("store", &d.Files.Store)
	}
	if c := d.Confinement; c != nil {
		w.line("sandbox", &c.Mark, &c.Landlock)
	}
	if d.Awaits {
		w.line("awaits")
	}
	for _, o := range d.Outputs {
		w.line("output", o.words()...)
		for _, l := range o.State.Lost {
			w.line("lost", &l.Reason, &l.N)
		}
	}
	object, err := json.Marshal(d)
	if err != nil { // cannot fail: all values have a JSON form
		return w.out
	}
	return append(append(append(w.out, wordsKey+" "...), object...), '\n')
}

// Parse reads a description of any version. It ignores what it does not know. What is missing
// is as in a receiver that has just started. The error means that this is not a description.
func Parse(data []byte) (*Description, error) {
	head, rest, _ := strings.Cut(string(data), "\n")
	ofWords := strings.HasPrefix(head, wordsHead) && rest != ""
	object := data
	if ofWords {
		_, after, _ := strings.Cut("\n"+rest, "\n"+wordsKey+" ")
		object = []byte(after)
	}
	d := NewDescription()
	err := decode(object, d)
	if err == nil || !ofWords {
		if err != nil {
			err = fmt.Errorf("read the state of the receiver: it begins with %.40q: %w", head, err)
		}
		d.complete()
		return d, err
	}
	d = NewDescription()
	for rest != "" {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		key, text, _ := strings.Cut(line, " ")
		d.read(key, &words{reading: true, in: text})
	}
	return d, nil
}

// complete removes nulls from lists.
func (d *Description) complete() {
	_, d.Places = compact(d.Places, func(p *Place) bool { return p != nil })
	_, d.Sockets = compact(d.Sockets, func(s *Socket) bool { return s != nil })
	_, d.Connections = compact(d.Connections, func(c *Connection) bool { return c != nil })
	_, d.Outputs = compact(d.Outputs, func(o *Output) bool { return o != nil })
	if d.Counters == nil {
		d.Counters = map[string]uint64{}
	}
}

// read reads the words of one line.
func (d *Description) read(key string, w *words) {
	switch key {
	case "base":
		d.base(w)
	case "place":
		d.Places = append(d.Places, newPlace())
		w.code(d.Places[len(d.Places)-1].words())
	case "socket":
		d.Sockets = append(d.Sockets, newSocket())
		w.code(d.Sockets[len(d.Sockets)-1].words(new(string)))
	case "connection":
		d.Connections = append(d.Connections, newConnection())
		w.code(d.Connections[len(d.Connections)-1].words())
	case "kernel":
		d.Kernel = newKernelLog()
		w.code(d.Kernel.words())
	case "keeper":
		d.Watcher = &Watcher{}
		w.code(d.Watcher.words())
	case "store":
		w.code([]any{&d.Files.Store})
	case "sandbox":
		d.Confinement = newConfinement()
		w.code([]any{&d.Confinement.Mark, &d.Confinement.Landlock})
	case "awaits":
		d.Awaits = true
	case "output":
		d.Outputs = append(d.Outputs, newOutput())
		w.code(d.Outputs[len(d.Outputs)-1].words())
	case "lost":
		if len(d.Outputs) > 0 {
			var l Loss
			w.code([]any{&l.Reason, &l.N})
			o := &d.Outputs[len(d.Outputs)-1].State
			o.Lost = append(o.Lost, l)
		}
	}
}

// base is the line of single values.
func (d *Description) base(w *words) {
	list := []any{&d.Program, &d.Receives, &d.Files.Init, &d.Files.Root, &d.Started}
	counters := make([]uint64, len(wordCounters))
	for i, name := range wordCounters {
		counters[i] = d.Counters[name]
		list = append(list, &counters[i])
	}
	if !w.reading {
		w.line("base", list...)
		return
	}
	w.code(list)
	for i, name := range wordCounters {
		if counters[i] > 0 {
			d.Counters[name] = counters[i]
		}
	}
}

// The words of each line, in their order.

func (p *Place) words() []any { return []any{&p.Dir, &p.Name, &p.Flags, &p.ID.Dev, &p.ID.Ino} }

func (s *Socket) words(kind *string) []any {
	return []any{&s.FD, kind, &s.Path, &s.Place, &s.ID.Dev, &s.ID.Ino, &s.Run, &s.Debt}
}

func (p *Connection) words() []any {
	return []any{&p.FD, &p.Framing, &p.Socket, &p.Skip, &p.Known, &p.PID, &p.UID, &p.GID, &p.Rest}
}

func (k *KernelLog) words() []any { return []any{&k.FD, &k.Sequence, &k.Any} }

func (w *Watcher) words() []any {
	return []any{
		&w.Target, &w.Failed, &w.Problem, &w.Yielded, &w.Unsaid, &w.Runs, &w.Retries, &w.Delay, &w.Repaired,
		&w.Last, &w.Since, &w.RepairedAt, &w.SaidAt, &w.FreeAt,
	}
}

func (o *Output) words() []any {
	s := &o.State
	return []any{
		&o.Path, &o.Kind, &o.Taken, &o.Bytes, &o.Repeated, &o.High, &s.Written, &s.Torn, &s.Ours, &s.Sync,
		&s.Unsaid, &s.UnsaidBy, &s.FD, &s.Used, &s.Age, &s.Pending,
	}
}

// words are the words of a line that is written or read. If a word is missing or not valid,
// its value stays unchanged.
type words struct {
	reading bool
	in      string // still to read
	out     []byte // written
}

// line writes a line.
func (w *words) line(key string, list ...any) {
	w.out = append(w.out, key...)
	w.code(list)
	w.out = append(w.out, '\n')
}

// code writes or reads the values that the list points to.
func (w *words) code(list []any) {
	for _, p := range list {
		switch p := p.(type) {
		case *int:
			number(w, p)
		case *int64:
			number(w, p)
		case *uint64:
			number(w, p)
		case *time.Duration:
			number(w, p)
		case *Time:
			number(w, p)
		case *bool:
			n := map[bool]int{true: 1}[*p]
			number(w, &n)
			*p = n == 1
		case *string: // JSON only has UTF-8
			text(w, p)
			*p = strings.ToValidUTF8(*p, "\ufffd")
		case *Text:
			text(w, p)
		case *[]byte:
			text(w, p)
		}
	}
}

// appendInt is strconv.AppendInt for signed and unsigned numbers.
func appendInt[T ~int | ~int64 | ~uint64](dst []byte, n T) []byte {
	if ^T(0) > 0 {
		return strconv.AppendUint(dst, uint64(n), 10)
	}
	return strconv.AppendInt(dst, int64(n), 10)
}

func number[T ~int | ~int64 | ~uint64](w *words, p *T) {
	if !w.reading {
		w.out = appendInt(append(w.out, ' '), *p)
		return
	}
	var word string
	word, w.in, _ = strings.Cut(w.in, " ")
	if ^T(0) > 0 {
		if n, err := strconv.ParseUint(word, 10, 64); err == nil {
			*p = T(n)
		}
	} else if n, err := strconv.ParseInt(word, 10, 64); err == nil {
		*p = T(n)
	}
}

func text[T ~string | ~[]byte](w *words, p *T) {
	if !w.reading {
		w.out = strconv.AppendQuote(append(w.out, ' '), string(*p))
		return
	}
	quoted, err := strconv.QuotedPrefix(w.in)
	if err != nil {
		_, w.in, _ = strings.Cut(w.in, " ")
		return
	}
	w.in = strings.TrimPrefix(w.in[len(quoted):], " ")
	if text, err := strconv.Unquote(quoted); err == nil {
		*p = T(text)
	}
}
