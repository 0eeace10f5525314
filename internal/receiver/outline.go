package receiver

import (
	"slices"

	"devlog/internal/cleanup"
)

// ForgetPrevious drops the receiver's earlier processes that no record names.
func (h *holdings) ForgetPrevious() { h.identity.Forget(h.cleanups) }

// Forget records that the messages in the process's memory, if this receiver read them, are
// written.
func (r *Receiver) Forget() { r.intake.Forget() }

// Unwritten returns how many messages of the outputs are only in this process.
func (r *Receiver) Unwritten() uint64 { return r.router.Unwritten() }

// Outline is what must be described again after a change.
type Outline struct {
	sockets  []*socket
	cleanups []*cleanup.Name
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
