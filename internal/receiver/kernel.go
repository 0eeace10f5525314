package receiver

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/eventloop"
	"devlog/internal/file"
	"devlog/internal/router"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

const (
	// kernelRecord is more than the largest record of /dev/kmsg, in bytes (PRINTKRB_RECORD_MAX
	// and the dictionary, kernel/printk/internal.h).
	kernelRecord = 8 << 10
	// maxRecords is how many records are read before others get their turn.
	maxRecords = 64
	// lastRecords is how many records are read at the end.
	lastRecords = 1 << 14
)

// kernelSource reads the kernel's log.
type kernelSource struct {
	fd       int
	buffer   [kernelRecord]byte
	sequence uint64 // of the last record
	any      bool   // a record was read
}

func (k *kernelSource) close(loop *eventloop.Loop) {
	if k.fd >= 0 {
		_ = loop.Remove(k.fd)
		file.Shut(&k.fd)
	}
}

// openKernel starts reading the kernel's log, from its present end: older records were logged
// when they were new, or precede this receiver.
func (r *Receiver) openKernel() error {
	fd, err := unix.Open(syslogconf.KernelLog, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return fmt.Errorf("cannot open %s to read the kernel's log (--kernel): %w", syslogconf.KernelLog, err)
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("cannot read the kernel's log (--kernel): go to its end: %w", err)
	}
	return r.addKernel(fd)
}

func (r *Receiver) addKernel(fd int) error {
	r.kernel = &kernelSource{fd: fd}
	return r.process.Loop.Add(fd, func() error {
		r.readKernel(maxRecords)
		r.Soon()
		return nil
	})
}

// readKernel reads at most limit records.
func (r *Receiver) readKernel(limit int) {
	k := r.kernel
	if k.fd < 0 {
		return
	}
	before := r.overwritten
	r.router.At(time.Now())
	for range limit {
		n, err := unix.Read(k.fd, k.buffer[:])
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EPIPE) {
			continue // EPIPE: records were overwritten; the next number shows how many
		}
		if err != nil && !errors.Is(err, unix.EAGAIN) || n == 0 {
			r.stopKernel(err)
			break
		}
		if err != nil {
			break
		}
		r.handleRecord(k.buffer[:n])
	}
	if n := r.overwritten - before; n > 0 {
		r.Say(syslog.Warning, strconv.FormatUint(n, 10)+" messages of the kernel's log lost: overwritten before they were read")
	}
}

// handleRecord passes a record to the outputs, unless this receiver wrote it: then they
// already have the message.
func (r *Receiver) handleRecord(record []byte) {
	k := r.kernel
	var m syslog.Message
	sequence, ok := syslog.ParseKernel(record, &m)
	if ok {
		if k.any && sequence > k.sequence+1 {
			r.overwritten += sequence - k.sequence - 1
		}
		k.sequence, k.any = sequence, true
	} else {
		m.Text = record
	}
	r.Received++
	r.Bytes += uint64(len(record))
	if m.Facility != syslog.Kern && m.PID == nil && r.isOwn(m.Tag) {
		r.readBack++
		return
	}
	router.Disown(&m)
	r.countRouted(r.router.Pass(&m))
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

// stopKernel stops reading the kernel's log.
func (r *Receiver) stopKernel(err error) {
	r.kernel.close(r.process.Loop)
	text := "the kernel's log has ended"
	if err != nil {
		text = "cannot read the kernel's log any more: " + err.Error()
	}
	r.Say(syslog.Warning, text)
}
