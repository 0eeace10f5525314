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

// hangUp does what SIGHUP asks for: the configuration and the time zone are read
// again, and the files reopened.
func (r *receiver) hangUp() {
	r.reopens++
	zoneErr := readZone()
	r.router.ForgetZone()
	r.router.Reopen(time.Now())
	if r.rereadRules != nil && r.receives {
		r.reload()
	}
	if zoneErr != nil {
		r.say(syslog.Warning, r.inSandbox(zoneErr)+": the time zone stays as it was")
	}
	r.fetchSockets()
}

// fetchSockets takes the further sockets that a hook has for this receiver.
func (r *receiver) fetchSockets() {
	files, answer, err := handover.Fetch(r.self.pid)
	if err == nil && answer < 0 {
		return
	}
	if err == nil {
		if err = errWatches; r.receives {
			err = owner{r}.TakeOver(files, 0)
		}
		err = handover.Report(answer, err)
	}
	if err != nil {
		r.say(syslog.Warning, "cannot take further sockets: "+err.Error())
	}
}

// errWatches says that this process receives nothing.
var errWatches = errors.New("it only watches /dev/log")

// reload reads the rules again. If one is wrong, or a new output cannot be
// opened, the rules stay as they were.
func (r *receiver) reload() {
	rules, err := r.rereadRules()
	var to *router.Routing
	if err == nil {
		to, err = r.router.Prepare(rules)
	}
	if err != nil {
		r.say(syslog.Warning, "the rules stay as they were: "+r.inSandbox(err))
		return
	}
	if r.router.Same(to) {
		return // they are as they were
	}
	r.use(to)
	r.say(syslog.Notice, "read the rules again: "+strconv.Itoa(len(rules)))
	r.sayRemarks(to)
}

// inSandbox is the error in words, and says so if the receiver's sandbox may be
// what is in the way.
func (r *receiver) inSandbox(err error) string {
	if r.sandbox != nil && r.sandbox.Landlock && errors.Is(err, unix.EACCES) {
		return fmt.Sprint(err, ": it is outside of this receiver's sandbox: restart it")
	}
	return err.Error()
}
