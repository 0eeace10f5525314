package devlogd

import (
	"fmt"
	"strconv"
	"time"

	"devlog/internal/handover"
	"devlog/internal/intake"
	"devlog/internal/receiver"
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
	seen  receiver.Outline // what was last described
	// seenAwaits is the same of program.awaits.
	seenAwaits bool
	// retry is when what holds is to be described again, which has failed; zero if
	// it has not.
	retry time.Time
	// started says that the receiver has been ready.
	started bool
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

// stepStore describes the receiver again if there is something that the description does
// not have. It is tried again as long as that fails, which is said once.
func (p *program) stepStore() {
	s := p.store
	if s == nil || s.seenAwaits == p.awaits && s.seen.Is(p.receiver) || !s.retry.IsZero() && time.Now().Before(s.retry) {
		return
	}
	err := s.Write(p.describe(time.Now()))
	if err == nil {
		s.seen, s.seenAwaits, s.retry = p.receiver.Outline(), p.awaits, time.Time{}
		return
	}
	if s.retry.IsZero() {
		p.receiver.Report(unsaved(err))
	}
	s.seen = receiver.Outline{} // what is written down by now is not known
	s.retry = time.Now().Add(describeRetry)
}

func unsaved(err error) error {
	return fmt.Errorf("cannot save state; a restart could not resume: %w", err)
}

// resumeStore has the program use the store of the one before it, which has left it in the
// same process.
func (p *program) resumeStore(d *handover.Description) error {
	if d.Files.Store < 0 {
		return nil
	}
	m, err := handover.ReuseStore(d.Files.Store, storeLayout)
	if err != nil {
		return unsaved(err)
	}
	d.PreviousIDs = m.Resume()
	p.store = &store{Store: m}
	return nil
}

// replay writes what a receiver that was killed had received and not written. It
// is the first to write and to receive: either would forget that.
func (p *program) replay() {
	s := p.store
	if s == nil || !s.Restarted {
		return
	}
	p.receiver.ForgetPrevious()
	n := p.memory.Unwritten()
	s.lost = s.Head.Pending
	if s.Head.Replays++; s.Head.Replays > maxReplays {
		s.lost += uint64(n)
		n = 0
	}
	s.again = n
	p.receiver.Replay(n)
}

// sayRestarted says what the kill of the receiver before this one has cost.
func (p *program) sayRestarted() {
	s := p.store
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
	p.receiver.Say(severity, text)
}

// written says that the outputs have taken what was received, and how much of
// that is in this process only.
func (s *store) written(p *program) {
	s.Head.Pending = p.receiver.Unwritten()
	p.memory.Forget()
	s.Head.Replays = 0
}

// tellReady tells systemd that the receiver is ready, if it has started it.
func (p *program) tellReady() error {
	if p.store == nil {
		return nil
	}
	p.store.started = true
	return handover.Notify("READY=1")
}
