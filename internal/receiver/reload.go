package receiver

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/handover"
	"devlog/internal/router"
	"devlog/internal/syslog"
)

// Reload reads the rules again and reopens the files. Lines use the process's time zone from
// now on. zoneErr is why that is not the configured one; nil if it is.
func (r *Receiver) Reload(zoneErr error) {
	r.counts.Reopens++
	r.router.ForgetZone()
	r.router.Reopen(time.Now())
	if r.config.Rules != nil && r.receives {
		r.rereadRules()
	}
	if zoneErr != nil {
		r.Say(syslog.Warning, "the time zone stays as it was: "+r.inSandbox(zoneErr))
	}
	r.fetchSockets()
}

// fetchSockets fetches the further sockets that a hook has for this receiver.
func (r *Receiver) fetchSockets() {
	files, answer, err := handover.Fetch(r.identity.Self.PID)
	if err == nil && answer < 0 {
		return
	}
	if err == nil {
		if err = errWatches; r.receives {
			err = r.TakeOver(files, 0)
		}
		err = handover.Report(answer, err)
	}
	if err != nil {
		r.Say(syslog.Warning, "cannot take further sockets: "+err.Error())
	}
}

// errWatches means that this receiver has no sockets.
var errWatches = errors.New("it only watches /dev/log")

// rereadRules reads the rules again. If one is wrong, or a new output cannot be opened, the
// rules stay as they were.
func (r *Receiver) rereadRules() {
	rules, err := r.config.Rules()
	var to *router.Routing
	if err == nil {
		to, err = r.router.Prepare(rules)
	}
	if err != nil {
		r.Say(syslog.Warning, "the rules stay as they were: "+r.inSandbox(err))
		return
	}
	if r.router.Same(to) {
		return // nothing has changed
	}
	r.use(to)
	r.Say(syslog.Notice, "read the rules again: "+strconv.Itoa(len(rules)))
	r.sayRemarks(to)
}

// inSandbox describes the error. It adds a remark if the sandbox may be the reason.
func (r *Receiver) inSandbox(err error) string {
	if r.confined() && errors.Is(err, unix.EACCES) {
		return fmt.Sprint(err, " (it is outside this receiver's sandbox); hint: restart the receiver")
	}
	return err.Error()
}

// confined returns whether the process can open only some files.
func (r *Receiver) confined() bool { return r.process.Confined != nil && r.process.Confined() }
