package receiver

import (
	"bytes"
	"strconv"
	"time"

	"devlog/internal/kmsg"
	"devlog/internal/router"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

const (
	// maxRecords is how many records of the kernel's log are read before others get their turn.
	maxRecords = 64
	// lastRecords is how many records are read at the end.
	lastRecords = 1 << 14
)

// addKernel starts to read the kernel's log.
func (r *Receiver) addKernel(s *kmsg.Source) error {
	r.kernel = s
	return r.process.Loop.Add(s.FD(), func() {
		r.readKernel(maxRecords)
		r.Soon()
	})
}

// readKernel reads at most limit records.
func (r *Receiver) readKernel(limit int) {
	if r.kernel == nil || r.kernel.FD() < 0 {
		return
	}
	r.router.At(time.Now())
	lost, ended, err := r.kernel.Read(limit, r.takeRecord)
	r.counts.Overwritten += lost
	if ended {
		r.closeKernel()
		text := "the kernel's log has ended"
		if err != nil {
			text = "cannot read the kernel's log any more: " + err.Error()
		}
		r.Say(syslog.Warning, text)
	}
	if lost > 0 {
		r.Say(syslog.Warning, strconv.FormatUint(lost, 10)+" messages of the kernel's log lost: overwritten before they were read")
	}
}

func (r *Receiver) closeKernel() {
	if r.kernel != nil && r.kernel.FD() >= 0 {
		_ = r.process.Loop.Remove(r.kernel.FD())
		r.kernel.Close()
	}
}

// takeRecord passes a record to the outputs, unless this receiver wrote it: then they already
// have the message.
func (r *Receiver) takeRecord(m *syslog.Message, size int) {
	r.counts.Received++
	r.counts.Bytes += uint64(size)
	if m.Facility != syslog.Kern && m.PID == nil && r.isOwn(m.Tag) {
		r.counts.ReadBack++
		return
	}
	router.Disown(m)
	r.counts.Route(r.router.Pass(m))
}

// isOwn returns whether this receiver wrote the record with this tag: the tag is its name, and
// a rule leads to the kernel's log.
func (r *Receiver) isOwn(tag []byte) bool {
	if !bytes.Equal(tag, r.router.Host) {
		return false
	}
	for i := range r.router.Routes {
		if r.router.Routes[i].Rules[0].Kind == syslogconf.Kernel {
			return true
		}
	}
	return false
}
