package intake

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/batch"
	"devlog/internal/journal"
	"devlog/internal/syslog"
)

// maxEntries is how many entries are read before others are served.
const maxEntries = 64

// entries is what entries of the journal are read with.
type entries struct {
	journal.Source
	reader journal.Reader
}

// receiveEntries reads entries from a socket. If batches is negative, it reads everything.
func (i *Intake) receiveEntries(s *Socket, batches int) error {
	limited := s
	if batches < 0 {
		limited = nil
	}
	read := uint64(0)
	defer func() {
		i.memory.HoldEntries(read)
		i.HighWater = max(i.HighWater, read)
		if read > 0 {
			i.taker.Done()
		}
		i.entries.Rest()
	}()
	i.memory.Hold(i.taker, i.Number, false)
	for ; batches < 0 || read < maxEntries; read++ {
		now := time.Now()
		if limited != nil && i.allows(limited, now) == 0 {
			return nil
		}
		i.memory.HoldEntries(read + 1) // before it is read
		entry, cred, err := i.entries.Receive(s.FD)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, journal.ErrWrong):
			i.Wrong++
			continue
		case err != nil:
			return fmt.Errorf("cannot receive entries of the journal: %w", err)
		}
		var from syslog.Sender
		if cred != nil {
			from = batch.SenderOf(cred)
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

// commandOf returns the name of the sender's program; empty if not known.
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

// begin removes what a client sends first from its data. It returns nil if that is not valid.
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

// use sets what the client sent first.
func (c *connection) use(head []byte) {
	c.head = head
	c.stdout, _ = journal.ReadStdout(head)
	if len(c.stdout.Identifier) == 0 {
		c.stdout.Identifier = commandOf(c.sender)
	}
}

// takeFrom passes on one message of a connection.
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
