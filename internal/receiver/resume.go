package receiver

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/handover"
	"devlog/internal/intake"
	"devlog/internal/output"
	"devlog/internal/router"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
	"devlog/internal/watcher"
)

// unsaidCounter is the counter of dropped messages without a notice.
const unsaidCounter = "unsaid"

// Receives returns whether the described receiver has outputs to open.
func Receives(d *handover.Description) bool { return d.Receives || len(d.Sockets) > 0 }

// Describe returns what the next program needs to know for Resume.
func (r *Receiver) Describe(now time.Time) *handover.Description {
	d := handover.NewDescription()
	d.Program, d.Receives, d.Started = r.process.Version, r.receives, handover.TimeOf(r.started)
	d.Files.Init = r.init
	for name, n := range r.named() {
		d.Counters[name] = *n
	}
	d.Counters[unsaidCounter] = r.intake.Unsaid()
	for _, p := range append(r.previousIDs[:len(r.previousIDs):len(r.previousIDs)], r.self) {
		d.PreviousIDs = append(d.PreviousIDs, strconv.Itoa(p.pid)+"/"+p.started)
	}
	for _, p := range r.cleanups {
		d.Places = append(d.Places, &handover.Place{Dir: p.dir, Name: handover.Text(p.name), Flags: p.flags, ID: p.id})
	}
	for _, k := range r.sockets {
		d.Sockets = append(d.Sockets, &handover.Socket{
			FD: k.FD, Path: handover.Text(k.Path), Place: slices.Index(r.cleanups, k.at), ID: k.ID, Run: k.run, Journal: k.Journal, Debt: k.Debt(now),
		})
	}
	for _, c := range r.intake.State() {
		d.Connections = append(d.Connections, &handover.Connection{
			FD: c.FD, Framing: c.Framing, Skip: c.Skip, Socket: c.From, Rest: c.Rest, Head: c.Head,
			Known: c.Sender.Known, PID: int64(c.Sender.PID), UID: int64(c.Sender.UID), GID: int64(c.Sender.GID),
		})
	}
	if k := r.kernel; k != nil && k.fd >= 0 {
		d.Kernel = &handover.KernelLog{FD: k.fd, Sequence: k.sequence, Any: k.any}
	}
	if r.watcher != nil {
		d.Files.Root = r.watcher.Root()
		d.Watcher = ofWatcher(r.watcher.State(), now)
	}
	for _, route := range r.router.Routes {
		t, ok := route.Out.(*router.MeteredOutput)
		if !ok {
			continue
		}
		o := &handover.Output{Path: handover.Text(t.Name()), Kind: int(t.Kind), Taken: t.Taken, Bytes: t.Bytes, Repeated: t.Repeated, High: t.High}
		if l, ok := t.Output.(output.Lasting); ok {
			o.State = l.State(now)
		} else {
			c := t.Counts()
			o.State = output.State{Written: c.Written, Lost: c.Lost, FD: -1}
		}
		d.Outputs = append(d.Outputs, o)
	}
	return d
}

// Resume continues for another program. upgraded says that it ran in this process.
func (r *Receiver) Resume(d *handover.Description, upgraded bool) {
	r.resumed = d
	for name, n := range r.named() {
		*n = d.Counters[name]
	}
	if d.Started != 0 {
		r.started = d.Started.Time()
	}
	if d.Unreadable != nil {
		r.fresh++
	}
	if upgraded {
		r.upgrades++
	}
	r.usePrevious(d.PreviousIDs)
	r.intake.SetUnsaid(d.Counters[unsaidCounter], time.Now())
}

// resumeConnections continues to read the connections and the kernel's log.
func (r *Receiver) resumeConnections() error {
	var list []intake.Connection
	for _, p := range r.resumed.Connections {
		list = append(list, intake.Connection{
			FD: p.FD, Framing: p.Framing, Skip: p.Skip, From: p.Socket, Rest: p.Rest, Head: p.Head,
			Sender: syslog.Sender{Known: p.Known, PID: int32(p.PID), UID: uint32(p.UID), GID: uint32(p.GID)},
		})
	}
	if err := r.intake.Resume(list); err != nil {
		return err
	}
	if k := r.resumed.Kernel; k != nil {
		if err := r.addKernel(k.FD); err != nil {
			return err
		}
		r.kernel.sequence, r.kernel.any = k.Sequence, k.Any
	}
	return nil
}

// resumeOutput makes an output continue for the one with its name.
func (r *Receiver) resumeOutput(t *router.MeteredOutput) {
	if r.resumed == nil {
		return
	}
	list := &r.resumed.Outputs
	i := slices.IndexFunc(*list, func(o *handover.Output) bool { return string(o.Path) == t.Name() && o.Kind == int(t.Kind) })
	if i < 0 {
		return
	}
	o := (*list)[i]
	*list = slices.Delete(*list, i, i+1)
	if l, ok := t.Output.(output.Lasting); ok {
		t.Taken, t.Bytes, t.Repeated, t.High = o.Taken, o.Bytes, o.Repeated, o.High
		l.Resume(o.State, time.Now())
	} else if o.State.FD >= 0 {
		_ = unix.Close(o.State.FD)
	}
}

// resumeOthers opens the outputs that no rule leads to any more but that have messages to
// write.
func (r *Receiver) resumeOthers() {
	if r.resumed == nil {
		return
	}
	for _, o := range slices.Clone(r.resumed.Outputs) {
		if len(o.State.Pending) == 0 {
			if o.State.FD >= 0 {
				_ = unix.Close(o.State.FD)
			}
			continue
		}
		r.router.Keep(syslogconf.Kind(o.Kind), string(o.Path))
	}
}

// Resumed is called after the receiver has reported why another program continues.
func (r *Receiver) Resumed() {
	r.resumed, r.router.Tolerant = nil, false // with all that was pending
}

// toWatcher returns the state of the earlier watcher.
func toWatcher(s *handover.Watcher, now time.Time) *watcher.State {
	return &watcher.State{
		Text: string(s.Target), Failed: string(s.Failed), Problem: string(s.Problem), Yielded: s.Yielded, Unsaid: s.Unsaid,
		Runs: s.Runs, Retries: s.Retries, Delay: s.Delay, Repaired: s.Repaired,
		Last: offWall(s.Last, now), Since: offWall(s.Since, now), At: offWall(s.RepairedAt, now),
		SaidAt: offWall(s.SaidAt, now), Orphaned: offWall(s.FreeAt, now),
	}
}

// ofWatcher returns the state of the watcher for the next one.
func ofWatcher(s watcher.State, now time.Time) *handover.Watcher {
	return &handover.Watcher{
		Target: handover.Text(s.Text), Failed: handover.Text(s.Failed), Problem: handover.Text(s.Problem), Yielded: s.Yielded, Unsaid: s.Unsaid,
		Runs: s.Runs, Retries: s.Retries, Delay: s.Delay, Repaired: s.Repaired,
		Last: onWall(s.Last, now), Since: onWall(s.Since, now), RepairedAt: onWall(s.At, now),
		SaidAt: onWall(s.SaidAt, now), FreeAt: onWall(s.Orphaned, now),
	}
}

// onWall returns a past time for handing over: as the present wall clock would have shown it.
// The clock may have been set since.
func onWall(t, now time.Time) handover.Time {
	if t.IsZero() {
		return 0
	}
	return handover.TimeOf(now.Round(0).Add(-now.Sub(t)))
}

// offWall returns a time from onWall, which from now on does not depend on the wall clock. It
// is never in the future, even if the clock was set back meanwhile: no repair would run until
// then.
func offWall(t handover.Time, now time.Time) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return now.Add(-max(0, now.Round(0).Sub(t.Time())))
}

// SayEnds logs that this program, which should continue for another, ends because of the
// error. The outputs report what was pending, if there are any.
func (r *Receiver) SayEnds(d *handover.Description, err error) {
	pending := 0
	for _, out := range d.Outputs {
		pending += bytes.Count(out.State.Pending, []byte{'\n'})
	}
	text := "exits, because it cannot continue from the previous program: " + err.Error()
	if pending > 0 && len(r.router.Routes) == 0 {
		text += "; " + strconv.Itoa(pending) + " messages lost that waited to be written"
	}
	r.tellKernel(text)
}
