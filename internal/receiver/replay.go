package receiver

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"devlog/internal/router"
)

// usePrevious takes over which processes the receiver was.
func (h *holdings) usePrevious(ids []string) {
	for _, text := range ids {
		pid, started, _ := strings.Cut(text, "/")
		if n, err := strconv.Atoi(pid); err == nil && (processID{n, started}) != h.self {
			h.previousIDs = append(h.previousIDs, processID{n, started})
		}
	}
}

// ForgetPrevious forgets the processes that no record names: there is one more with
// each restart. Without any record the first one is as good as any.
func (h *holdings) ForgetPrevious() {
	noted := slices.DeleteFunc(slices.Clone(h.previousIDs), func(p processID) bool {
		return !slices.ContainsFunc(h.cleanups, func(at *cleanup) bool { return p.notedIn(at.dir) })
	})
	if len(noted) > 0 {
		h.previousIDs = noted
	} else {
		h.previousIDs = h.previousIDs[:min(1, len(h.previousIDs))]
	}
}

// Replay passes the first n messages of the memory to the outputs: a receiver that was
// killed had read them. It comes before anything else is written or received, which
// would forget them.
func (r *Receiver) Replay(n int) {
	now := time.Now()
	r.router.At(now)
	for i := range n {
		raw, cut, from := r.process.Memory.Message(i)
		r.Received++
		r.Bytes += uint64(len(raw))
		if cut {
			r.Cut++
		}
		r.handle(raw, cut, from)
	}
	r.Flush(now)
}

// Unwritten is how many messages the outputs have taken that are in this process only.
func (r *Receiver) Unwritten() (n uint64) {
	for _, route := range r.router.Routes {
		c := route.Out.Counts()
		n += c.Pending + c.Untold
		if t, ok := route.Out.(*router.MeteredOutput); ok {
			n += t.Repeats
		}
	}
	return n
}

// Outline is what of a receiver is to be described again when it has changed.
type Outline struct {
	sockets  []*socket
	cleanups []*cleanup
	text     string
	yielded  bool
	known    bool
}

// Outline returns that of the receiver as it is now.
func (r *Receiver) Outline() Outline {
	o := Outline{sockets: slices.Clone(r.sockets), cleanups: slices.Clone(r.cleanups), known: true}
	if r.watcher != nil {
		o.text, o.yielded = r.watcher.Follows()
	}
	return o
}

// Is reports whether the receiver is still so. The zero Outline is that of none.
func (o *Outline) Is(r *Receiver) bool {
	if !o.known || !slices.Equal(o.sockets, r.sockets) || !slices.Equal(o.cleanups, r.cleanups) {
		return false
	}
	if r.watcher == nil {
		return true
	}
	text, yielded := r.watcher.Follows()
	return o.text == text && o.yielded == yielded
}
