package intake

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/journal"
	"devlog/internal/syslog"
)

const (
	// maxEntries is how many entries are read before others are served.
	maxEntries = 64
	// maxEntry is how long a datagram may be, or a file in memory, which a client passes
	// instead if its socket's buffer is too small.
	maxEntry = 1 << 20
	// seals are those without which the client could change the file while it is read.
	seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
)

// entries is what entries of the journal are read with.
type entries struct {
	reader journal.Reader
	buffer []byte // of maxEntry; nil until there is an entry
	big    bool   // more than usual of it is used
}

// errWrong says that what came is no entry.
var errWrong = errors.New("not an entry")

// receiveEntries reads entries from a socket, all there are if batches is negative.
func (i *Intake) receiveEntries(s *Socket, batches int) error {
	limited := s
	if batches < 0 {
		limited = nil
	}
	read := uint64(0)
	defer func() {
		i.HighWater = max(i.HighWater, read)
		if read > 0 {
			i.taker.Done()
		}
		if i.entries.big {
			_ = unix.Madvise(i.entries.buffer, unix.MADV_DONTNEED)
			i.entries.big = false
		}
	}()
	for ; batches < 0 || read < maxEntries; read++ {
		now := time.Now()
		if limited != nil && i.allows(limited, now) == 0 {
			return nil
		}
		entry, from, err := i.entries.receive(s.FD)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, errWrong):
			i.Wrong++
			continue
		case err != nil:
			return fmt.Errorf("cannot receive entries of the journal: %w", err)
		}
		err = i.entries.reader.Read(entry, func(m *syslog.Message) {
			if m.Sender = from; len(m.Tag) == 0 {
				m.Tag = commandOf(from)
			}
			if i.counts(limited, len(m.Text), m.Cut, now) {
				i.taker.TakeEntry(m, now)
			}
		})
		if err != nil {
			i.Wrong++
		}
	}
	return nil
}

// receive reads one datagram without waiting, or the file that it passes.
func (e *entries) receive(fd int) (entry []byte, from syslog.Sender, err error) {
	if e.buffer == nil {
		flags := unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE
		if e.buffer, err = unix.Mmap(-1, 0, maxEntry, unix.PROT_READ|unix.PROT_WRITE, flags); err != nil {
			return nil, from, err
		}
	}
	var control [unix.SizeofCmsghdr + controlSize + wordSize]byte // of the sender, and of one file
	n, m, flags, _, err := unix.Recvmsg(fd, e.buffer, control[:], unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, from, err
	}
	e.big = e.big || n > slotSize
	from, files := parseControl(control[:m])
	// Whoever passes a file at whose end the kernel waits only holds up its own receiver.
	defer func() {
		for _, file := range files {
			_ = unix.Close(file)
		}
	}()
	switch {
	case flags&unix.MSG_TRUNC != 0, flags&unix.MSG_CTRUNC != 0, len(files) > 1, len(files) == 1 && n > 0:
		return nil, from, errWrong
	case len(files) == 1:
		n, err = readSealed(files[0], e.buffer)
		e.big = e.big || n > slotSize
	}
	return e.buffer[:n], from, err
}

// parseControl returns the sender of a datagram, and the files that it passes.
func parseControl(control []byte) (from syslog.Sender, files []int) {
	list, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return from, nil
	}
	for _, c := range list {
		if cred, err := unix.ParseUnixCredentials(&c); err == nil {
			from = sender(cred)
		} else if fds, err := unix.ParseUnixRights(&c); err == nil {
			files = append(files, fds...)
		}
	}
	return from, files
}

// readSealed reads a file in memory that its client cannot change any more, and returns how
// long it is. It is not mapped: another kind of file would not do.
func readSealed(fd int, buffer []byte) (n int, err error) {
	got, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || got&seals != seals {
		return 0, errWrong
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Size > int64(len(buffer)) {
		return 0, errWrong
	}
	for n < int(st.Size) {
		more, err := unix.Pread(fd, buffer[n:st.Size], int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || more == 0:
			return 0, errWrong
		}
		n += max(more, 0)
	}
	return n, nil
}

// commandOf is what the sender's program is called; empty if that is not known.
func commandOf(from syslog.Sender) []byte {
	if !from.Known || from.PID <= 0 {
		return nil
	}
	fd, err := unix.Open("/proc/"+strconv.Itoa(int(from.PID))+"/comm", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil // it has ended
	}
	defer unix.Close(fd)
	name := make([]byte, 64)
	n, err := unix.Read(fd, name)
	if err != nil {
		return nil
	}
	return bytes.TrimSuffix(name[:max(n, 0)], []byte{'\n'})
}

// begin takes what a client says first off what it sends; nil if that is wrong.
func (c *connection) begin(data []byte) []byte {
	_, size := journal.ReadStdout(data)
	if size <= 0 {
		if size < 0 {
			return nil
		}
		return data
	}
	c.use(bytes.Clone(data[:size]))
	c.frame.framing = byNewline
	return data[size:]
}

// use uses what a client said first.
func (c *connection) use(head []byte) {
	c.head = head
	c.stdout, _ = journal.ReadStdout(head)
	if len(c.stdout.Identifier) == 0 {
		c.stdout.Identifier = commandOf(c.sender)
	}
}

// takeFrom passes one message of a connection on.
func (i *Intake) takeFrom(c *connection, text []byte, cut bool, now time.Time) {
	switch {
	case !c.isStdout:
		i.take(c.from, text, cut, c.sender, now)
	case len(c.head) > 0 && i.counts(c.from, len(text), cut, now):
		m := c.stdout.Message(text)
		m.Cut, m.Sender = cut, c.sender
		i.taker.TakeEntry(&m, now)
	}
}
