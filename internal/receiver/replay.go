package receiver

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"devlog/internal/router"
)

// usePrevious sets the processes that the receiver was.
func (h *holdings) usePrevious(ids []string) {
	for _, text := range ids {
		pid, started, _ := strings.Cut(text, "/")
		if n, err := strconv.Atoi(pid); err == nil && (processID{n, started}) != h.self {
			h.previousIDs = append(h.previousIDs, processID{n, started})
		}
	}
}

// ForgetPrevious drops the processes that no record names: each restart adds one. Without any
// record it keeps the first.
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

// Replay passes the first n messages of the memory, which a killed receiver had read, to the
// outputs. Call it before anything else writes or receives, which would overwrite them.
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

// Unwritten returns how many messages of the outputs are only in this process.
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

// Outline is what must be described again after a change.
type Outline struct {
	sockets  []*socket
	cleanups []*cleanup
	text     string
	yielded  bool
	known    bool
}

// Outline returns the receiver's outline.
func (r *Receiver) Outline() Outline {
	o := Outline{sockets: slices.Clone(r.sockets), cleanups: slices.Clone(r.cleanups), known: true}
	if r.watcher != nil {
		o.text, o.yielded = r.watcher.Follows()
	}
	return o
}

// Is returns whether the receiver still has this outline. The zero Outline matches none.
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
