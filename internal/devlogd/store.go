package devlogd

import (
	"fmt"
	"strconv"
	"time"

	"devlog/internal/handover"
	"devlog/internal/intake"
	"devlog/internal/notify"
	"devlog/internal/receiver"
	"devlog/internal/syslog"
)

// A supervised receiver that is killed loses nothing: it receives into memory that its
// supervisor keeps too. The kernel writes each message there while it removes it from the
// socket's queue. The message counts as unwritten until the outputs have it. The restarted
// program first writes what is unwritten.

const (
	// storeMagic identifies the layout of the memory.
	storeMagic = 0x64766c6f67640001
	// maxReplays is how often to try the same messages: they may have crashed the receiver.
	maxReplays = 3
	// describeRetry is the time between attempts to describe the receiver.
	describeRetry = time.Second
)

// The parts after the memory's head, each on its own pages.
const (
	headersAt = 4 << 10
	controlAt = headersAt + intake.HeadersSize
	statesAt  = controlAt + intake.ControlSize
	slotsAt   = statesAt + 2*handover.MaxDescription
	storeSize = slotsAt + intake.SlotsSize
)

var storeLayout = handover.Layout{Magic: storeMagic, At: statesAt, Size: storeSize}

// store is that memory.
type store struct {
	*handover.Store
	// again and lost are how many of its messages were written again and lost.
	again int
	lost  uint64
	seen  receiver.Outline // the last description
	// seenAwaits is program.awaits in the last description.
	seenAwaits bool
	// retry is when to try again to describe the receiver; zero if that has not failed.
	retry time.Time
	// started says that the receiver was ready.
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

// messages returns the part of the memory for messages.
func (s *store) messages() *intake.Memory {
	m := s.Memory
	return intake.KeepMemory(m[headersAt:controlAt], m[controlAt:statesAt], m[slotsAt:], s.New())
}

// stepStore describes the receiver again if it has changed. If that fails, it retries, and
// reports the error once.
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
	s.seen = receiver.Outline{} // the memory may have either description
	s.retry = time.Now().Add(describeRetry)
}

func unsaved(err error) error {
	return fmt.Errorf("cannot save state; a restart could not resume: %w", err)
}

// resumeStore uses the store that the earlier program of this process left.
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

// replay writes what a killed receiver had received and not written. Call it before anything
// else writes or receives, which would overwrite it.
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

// sayRestarted reports what the kill of the earlier receiver has cost.
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

// written records that the outputs have the received messages, and how many of those are only
// in this process.
func (s *store) written(p *program) {
	s.Head.Pending = p.receiver.Unwritten()
	p.memory.Forget()
	s.Head.Replays = 0
}

// tellReady tells systemd that the receiver is ready, if systemd started it.
func (p *program) tellReady() error {
	if p.store == nil {
		return nil
	}
	p.store.started = true
	return notify.Send("READY=1")
}
