package sink

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/output"
	"devlog/internal/syslog"
)

const (
	// kernelBurst and kernelInterval are the limit of each open /dev/kmsg with
	// kernel.printk_devkmsg=ratelimit: the kernel accepts more, and silently drops it
	// (devkmsg_write in kernel/printk/printk.c). With "on", which systemd sets, this program
	// applies them: the log is small, and belongs to the whole machine.
	kernelBurst    = 10
	kernelInterval = 5 * time.Second
	// kernelMargin compensates for the kernel's clock, which counts jiffies.
	kernelMargin = 100 * time.Millisecond
	// maxRecords is the most records of one message.
	maxRecords = 4

	continued = "..."
	cutMark   = " [cut]"
)

// ErrKernelOff means that the kernel accepts no records because of kernel.printk_devkmsg=off.
var ErrKernelOff = errors.New("kernel.printk_devkmsg is off")

const (
	lostClosed   = "kernel log not available"
	lostWithheld = "kernel log rate limit"
)

// kmsg is a descriptor of /dev/kmsg.
type kmsg int

func (k kmsg) Write(p []byte) (int, error) { return unix.Write(int(k), p) }
func (k kmsg) Close() error                { return unix.Close(int(k)) }

// Kernel is the output to the kernel's log. It stays within the kernel's rate limit. It counts
// and reports the messages that it withholds.
type Kernel struct {
	path string
	name string // before every record
	open func() (io.WriteCloser, error)
	now  func() time.Time

	log    io.WriteCloser // nil if it cannot be opened
	begin  time.Time      // of the current interval
	used   int            // records in the current interval
	unsaid uint64         // withheld messages without a notice in the log
	record []byte
	counts output.Counts
}

// OpenKernel returns the output to the kernel's log at path, /dev/kmsg. name comes before the
// text of every record: the log belongs to the whole machine. held is the open log, of which it
// uses a duplicate; -1 to open it. If the log cannot be opened, the error says why, and the output
// counts every message as lost.
func OpenKernel(path, name string, held int) (*Kernel, error) {
	return newKernel(path, name, time.Now, func() (io.WriteCloser, error) { return openKmsg(path, held) })
}

func newKernel(path, name string, now func() time.Time, open func() (io.WriteCloser, error)) (*Kernel, error) {
	k := &Kernel{path: path, name: name, now: now, open: open, record: make([]byte, 0, syslog.MaxRecord)}
	err := k.reopen()
	return k, err
}

func openKmsg(path string, held int) (io.WriteCloser, error) {
	// Without this file (no /proc) assume the default.
	if mode, err := os.ReadFile("/proc/sys/kernel/printk_devkmsg"); err == nil && strings.TrimSpace(string(mode)) == "off" {
		return nil, fmt.Errorf("cannot open %s: %w", path, ErrKernelOff)
	}
	if held >= 0 {
		fd, err := unix.FcntlInt(uintptr(held), unix.F_DUPFD_CLOEXEC, 0)
		return kmsg(fd), err
	}
	fd, err := file.OpenKernelLog(path)
	if errors.Is(err, file.ErrType) {
		return nil, fmt.Errorf("cannot open %s: it is not the kernel's log (a device 1:11)", path)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", path, err)
	}
	return kmsg(fd), nil
}

func (k *Kernel) reopen() error {
	w, err := k.open()
	if err != nil {
		return err
	}
	k.log, k.used, k.begin = w, 0, time.Time{}
	return nil
}

// Name returns the path of the kernel's log.
func (k *Kernel) Name() string { return k.path }

// Counts returns what happened to the messages.
func (k *Kernel) Counts() output.Counts { return k.counts }

// Add writes a message, as at most maxRecords records. It withholds the message if the limit
// does not allow that.
func (k *Kernel) Add(m output.Message) {
	if k.log == nil {
		k.counts.Lose(lostClosed, 1)
		return
	}
	k.renew()
	count := 0
	for rest := m.Body; count == 0 || len(rest) > 0 && count < maxRecords; count++ {
		_, rest = k.build(m.Priority, rest, count)
	}
	if k.used+count > kernelBurst {
		k.unsaid++
		k.counts.Lose(lostWithheld, 1)
		return
	}
	rest := m.Body
	for i := range count {
		var record []byte
		record, rest = k.build(m.Priority, rest, i)
		if err := k.write(record); err != nil {
			k.counts.Lose(output.Reason(err), 1)
			return
		}
	}
	k.counts.Written++
}

// build returns record i of a message, with rest still to write, and what is left after it. A
// record must end in a newline: otherwise the kernel waits for its continuation (LOG_CONT),
// and shows it only with the next record.
func (k *Kernel) build(p syslog.Priority, rest []byte, i int) (record, after []byte) {
	b := k.record[:0]
	b = append(b, '<')
	b = strconv.AppendUint(b, uint64(p), 10)
	b = append(b, '>')
	b = append(b, k.name...)
	b = append(b, ": "...)
	if i > 0 {
		b = append(b, continued...)
	}
	room := syslog.MaxRecord - len(b) - len("\n")
	if len(rest) <= room {
		return append(append(b, rest...), '\n'), nil
	}
	mark := continued
	if i == maxRecords-1 {
		mark = cutMark
	}
	n := room - len(mark)
	for n > 0 && !utf8.RuneStart(rest[n]) {
		n--
	}
	b = append(append(b, rest[:n]...), mark...)
	return append(b, '\n'), rest[n:]
}

func (k *Kernel) write(record []byte) error {
	for {
		_, err := k.log.Write(record)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if k.used == 0 {
			// The kernel's interval begins with the first record, before this time.
			k.begin = k.now()
		}
		k.used++
		return err
	}
}

// renew begins a new interval if the last is over, and reports what was withheld.
func (k *Kernel) renew() {
	if k.used > 0 && k.now().Sub(k.begin) > kernelInterval+kernelMargin {
		k.used = 0
	}
	if k.unsaid > 0 && k.used == 0 && k.log != nil {
		k.report()
	}
}

func (k *Kernel) report() {
	text := "devlogd: " + strconv.FormatUint(k.unsaid, 10) + " messages withheld (" + lostWithheld + ")"
	record, _ := k.build(syslog.MakePriority(syslog.Syslog, syslog.Warning), []byte(text), 0)
	if k.write(record) == nil {
		k.unsaid = 0
	}
}

// Flush reports what was withheld, if the limit allows it.
func (k *Kernel) Flush(time.Time) { k.renew() }

// Next returns when to report what was withheld.
func (k *Kernel) Next() time.Time {
	if k.unsaid == 0 || k.log == nil {
		return time.Time{}
	}
	return k.begin.Add(kernelInterval + kernelMargin + time.Millisecond)
}

// Reopen opens the log if that failed before. It keeps an open log: opening it again would
// evade the rate limit.
func (k *Kernel) Reopen(time.Time) {
	if k.log == nil {
		_ = k.reopen() // the error was reported at the start, and each message counts as lost
	}
}

// Close closes the log.
func (k *Kernel) Close() {
	if k.log == nil {
		return
	}
	if k.unsaid > 0 {
		// The limit does not matter any more: the report is one more record.
		_ = k.log.Close()
		k.log = nil
		if k.reopen() != nil {
			return
		}
		k.report()
	}
	_ = k.log.Close()
	k.log = nil
}

// State passes on the open log, because the kernel's limit applies to the open file.
func (k *Kernel) State(time.Time) output.State {
	s := output.State{Written: k.counts.Written, Lost: slices.Clone(k.counts.Lost), Unsaid: k.unsaid, FD: -1, Used: k.used}
	if fd, ok := k.log.(kmsg); ok {
		s.FD = int(fd)
	}
	if k.used > 0 {
		s.Age = k.now().Sub(k.begin)
	}
	return s
}

// Resume continues with the open log, unless logs cannot be opened any more.
func (k *Kernel) Resume(s output.State, _ time.Time) {
	k.counts.Add(s.Written, s.Lost)
	k.unsaid += s.Unsaid
	if k.log == nil || s.FD < 0 {
		if s.FD >= 0 {
			_ = unix.Close(s.FD)
		}
		return
	}
	_ = k.log.Close() // nothing was written to it
	k.log, k.used = kmsg(s.FD), s.Used
	if s.Used > 0 {
		k.begin = k.now().Add(-s.Age)
	}
}

// Buffered returns 0: records are written at once.
func (k *Kernel) Buffered() int { return 0 }

var (
	_ output.Output  = (*Kernel)(nil)
	_ output.Lasting = (*Kernel)(nil)
)
