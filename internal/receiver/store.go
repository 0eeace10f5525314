package receiver

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"devlog/internal/handover"
	"devlog/internal/intake"
	"devlog/internal/router"
	"devlog/internal/syslog"
)

// A receiver that is supervised can be killed and lose nothing: what it receives into is
// in memory that its supervisor has as well. The kernel notes each message there as it
// takes it out of the socket's queue; it counts as unwritten until the outputs have it.
// The program that is started then writes what is unwritten first.

const (
	// storeMagic says how the memory is laid out.
	storeMagic = 0x64766c6f67640001
	// maxReplays is how often the same messages are tried: they may be what the
	// receiver was killed by.
	maxReplays = 3
	// describeRetry is the time between two attempts to describe the receiver.
	describeRetry = time.Second
)

// What follows the memory's head, each part on pages of its own.
const (
	headersAt = 4 << 10
	controlAt = headersAt + intake.HeadersSize
	statesAt  = controlAt + intake.ControlSize
	slotsAt   = statesAt + 2*handover.MaxDescription
	storeSize = slotsAt + intake.SlotsSize
)

var storeLayout = handover.Layout{Magic: storeMagic, At: statesAt, Size: storeSize}

// store is that memory, as a receiver uses it.
type store struct {
	*handover.Store
	// again and lost are how many of its messages were written again and lost.
	again int
	lost  uint64
	seen  seen
	// retry is when what holds is to be described again, which has failed; zero if
	// it has not.
	retry time.Time
	// started says that the receiver has been ready.
	started bool
}

// seen is what was last described.
type seen struct {
	sockets  []*socket
	cleanups []*cleanup
	text     string
	yielded  bool
	awaits   bool
	done     bool
}

// openStore is handover.OpenStore.
func openStore(files []handover.File) ([]handover.File, *store, error) {
	files, s, err := handover.OpenStore(files, storeLayout)
	if s == nil || err != nil {
		return files, nil, err
	}
	return files, &store{Store: s}, nil
}

// messages is the part of the memory that messages are received into.
func (s *store) messages() *intake.Memory {
	m := s.Memory
	return intake.KeepMemory(m[headersAt:controlAt], m[controlAt:statesAt], m[slotsAt:], s.New())
}

// stepStore describes the receiver anew if there is something that the
// description does not have. It is tried again as long as that fails, which is
// said once.
func (r *receiver) stepStore() {
	s := r.store
	if s == nil || s.seen.is(r) || !s.retry.IsZero() && time.Now().Before(s.retry) {
		return
	}
	err := s.Write(r.describe(time.Now()))
	if err == nil {
		s.seen, s.retry = look(r), time.Time{}
		return
	}
	if s.retry.IsZero() {
		r.router.Report(fmt.Errorf("cannot save state; a restart could not resume: %w", err))
	}
	s.seen = seen{} // what is written down by now is not known
	s.retry = time.Now().Add(describeRetry)
}

func look(r *receiver) seen {
	l := seen{sockets: append([]*socket{}, r.sockets...), cleanups: append([]*cleanup{}, r.cleanups...), awaits: r.awaits, done: true}
	if r.watcher != nil {
		l.text, l.yielded = r.watcher.Follows()
	}
	return l
}

func (l *seen) is(r *receiver) bool {
	if !l.done || l.awaits != r.awaits || len(l.sockets) != len(r.sockets) || len(l.cleanups) != len(r.cleanups) {
		return false
	}
	for i := range l.sockets {
		if l.sockets[i] != r.sockets[i] {
			return false
		}
	}
	for i := range l.cleanups {
		if l.cleanups[i] != r.cleanups[i] {
			return false
		}
	}
	if r.watcher == nil {
		return true
	}
	text, yielded := r.watcher.Follows()
	return l.text == text && l.yielded == yielded
}

// resumeStore has the receiver use the store of the program before this one,
// which has left it in the same process.
func (r *receiver) resumeStore(d *handover.Description) {
	if d.Files.Store < 0 {
		return
	}
	m, err := handover.ReuseStore(d.Files.Store, storeLayout)
	if err != nil {
		r.router.Report(fmt.Errorf("cannot save state; a restart could not resume: %w", err))
		return
	}
	d.PreviousIDs = m.Resume()
	r.store = &store{Store: m}
	r.memory = r.store.messages()
	r.intake.UseMemory(r.memory)
}

// usePrevious takes over which processes the receiver was.
func (r *receiver) usePrevious(ids []string) {
	for _, text := range ids {
		pid, started, _ := strings.Cut(text, "/")
		if n, err := strconv.Atoi(pid); err == nil && (process{n, started}) != r.self {
			r.previousIDs = append(r.previousIDs, process{n, started})
		}
	}
}

// forgetPrevious forgets the processes that no record names: there is one more with
// each restart. Without any record the first one is as good as any.
func (r *receiver) forgetPrevious() {
	noted := slices.DeleteFunc(slices.Clone(r.previousIDs), func(p process) bool {
		return !slices.ContainsFunc(r.cleanups, func(at *cleanup) bool { return p.notedIn(at.dir) })
	})
	if len(noted) > 0 {
		r.previousIDs = noted
	} else {
		r.previousIDs = r.previousIDs[:min(1, len(r.previousIDs))]
	}
}

// replay writes what a receiver that was killed had received and not written. It
// is the first to write and to receive: either would forget that.
func (r *receiver) replay() {
	s := r.store
	if s == nil || !s.Restarted {
		return
	}
	r.forgetPrevious()
	n := r.memory.Unwritten()
	s.lost = s.Head.Pending
	if s.Head.Replays++; s.Head.Replays > maxReplays {
		s.lost += uint64(n)
		n = 0
	}
	s.again = n
	now := time.Now()
	r.router.At(now)
	for i := range n {
		raw, cut, from := r.memory.Message(i)
		r.Received++
		r.Bytes += uint64(len(raw))
		if cut {
			r.Cut++
		}
		r.handle(raw, cut, from)
	}
	r.Flush(now)
}

// sayRestarted says what the kill of the receiver before this one has cost.
func (r *receiver) sayRestarted() {
	s := r.store
	text, severity := "killed; restarted by systemd", syslog.Notice
	if s.Head.Restarts > 1 {
		text += " (" + strconv.FormatUint(s.Head.Restarts, 10) + " times by now)"
	}
	if s.again > 0 {
		text += "; the " + strconv.Itoa(s.again) + " messages before this may appear twice"
	}
	if s.lost > 0 {
		severity = syslog.Warning
		text += "; " + strconv.FormatUint(s.lost, 10) + " messages lost (killed before they could be written)"
	}
	r.say(severity, text)
}

// written says that the outputs have taken what was received, and how much of
// that is in this process only.
func (s *store) written(r *receiver) {
	pending := uint64(0)
	for _, route := range r.router.Routes {
		c := route.Out.Counts()
		pending += c.Pending + c.Untold
		if t, ok := route.Out.(*router.MeteredOutput); ok {
			pending += t.Repeats
		}
	}
	s.Head.Pending = pending
	r.memory.Forget()
	s.Head.Replays = 0
}

// tellReady tells systemd that the receiver is ready, if it has started it.
func (r *receiver) tellReady() error {
	if r.store == nil {
		return nil
	}
	r.store.started = true
	return handover.Notify("READY=1")
}
