package receiver

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"devlog/internal/handover"
	"devlog/internal/intake"
	"devlog/internal/kmsg"
	"devlog/internal/syslog"
)

// unsaidCounter is the counter of dropped messages without a notice.
const unsaidCounter = "unsaid"

// Receives returns whether the described receiver has outputs to open.
func Receives(d *handover.Description) bool { return d.Receives || len(d.Sockets) > 0 }

// Describe returns what the next program needs to know for Resume.
func (r *Receiver) Describe(now time.Time) *handover.Description {
	d := handover.NewDescription()
	d.Program, d.Receives, d.Started = r.process.Version, r.receives, handover.TimeOf(r.counts.Started)
	d.Files.Init = r.init
	r.counts.Describe(d.Counters)
	d.Counters[unsaidCounter] = r.intake.Unsaid()
	d.PreviousIDs = r.identity.IDs()
	for _, p := range r.cleanups {
		d.Cleanups = append(d.Cleanups, &handover.Cleanup{Dir: p.Dir, Name: handover.Text(p.Name), Flags: p.Flags, ID: p.ID})
	}
	for _, k := range r.sockets {
		d.Sockets = append(d.Sockets, &handover.Socket{
			FD: k.FD, Path: handover.Text(k.Path), Cleanup: slices.Index(r.cleanups, k.at), ID: k.ID, Run: k.run, Journal: k.Journal, Debt: k.Debt(now),
		})
	}
	for _, c := range r.intake.State() {
		d.Connections = append(d.Connections, &handover.Connection{
			FD: c.FD, Framing: c.Framing, Skip: c.Skip, Socket: c.From, Rest: c.Rest, Head: c.Head,
			Known: c.Sender.Known, PID: int64(c.Sender.PID), UID: int64(c.Sender.UID), GID: int64(c.Sender.GID),
		})
	}
	if r.kernel != nil && r.kernel.FD() >= 0 {
		d.Kernel = &handover.KernelLog{}
		d.Kernel.FD, d.Kernel.Sequence, d.Kernel.Any = r.kernel.State()
	}
	if r.watcher != nil {
		d.Files.Root = r.watcher.Root()
		d.Watcher = r.watcher.State().Describe(now)
	}
	d.Outputs = r.router.Describe(now)
	return d
}

// Resume continues for another program. upgraded says that it ran in this process.
func (r *Receiver) Resume(d *handover.Description, upgraded bool) {
	r.resumed = d
	r.router.Resume(d.Outputs)
	r.counts.Resume(d.Counters)
	if d.Started != 0 {
		r.counts.Started = d.Started.Time()
	}
	if d.Unreadable != nil {
		r.counts.Fresh++
	}
	if upgraded {
		r.counts.Upgrades++
	}
	r.identity.UsePrevious(d.PreviousIDs)
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
		return r.addKernel(kmsg.Resume(k.FD, k.Sequence, k.Any))
	}
	return nil
}

// Resumed is called after the receiver has reported why another program continues.
func (r *Receiver) Resumed() {
	r.resumed = nil // with all that was pending
	r.router.Resumed()
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
