// Package kmsg owns the kernel's log as a source of messages: /dev/kmsg, read record by
// record (Documentation/ABI/testing/dev-kmsg).
package kmsg

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/syslog"
)

// maxRecord is more than a record of /dev/kmsg can be, in bytes (PRINTKRB_RECORD_MAX and
// the dictionary, kernel/printk/internal.h).
const maxRecord = 8 << 10

// Source is the kernel's log.
type Source struct {
	fd       int
	buffer   [maxRecord]byte
	sequence uint64 // of the last record
	any      bool   // there was one
}

// Open begins to read the kernel's log at the path, from its end on: what is there already
// was logged when it was new, or is before the reader's time.
func Open(path string) (*Source, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s to read the kernel's log (--kernel): %w", path, err)
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("cannot read the kernel's log (--kernel): go to its end: %w", err)
	}
	return &Source{fd: fd}, nil
}

// Resume continues with an open log. sequence is the last record that was read; any says that
// one was read.
func Resume(fd int, sequence uint64, any bool) *Source {
	return &Source{fd: fd, sequence: sequence, any: any}
}

// State returns what Resume takes.
func (s *Source) State() (fd int, sequence uint64, any bool) { return s.fd, s.sequence, s.any }

// FD is the descriptor to wait for; -1 once the log is closed.
func (s *Source) FD() int { return s.fd }

// Read reads at most this many records, without waiting, and calls take for each with its
// size in bytes; the message is valid during the call. lost are the records that were
// overwritten before they were read. ended says that the log cannot be read any more, err
// why, if that is known.
func (s *Source) Read(limit int, take func(m *syslog.Message, size int)) (lost uint64, ended bool, err error) {
	for range limit {
		n, err := unix.Read(s.fd, s.buffer[:])
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EPIPE):
			continue // EPIPE: records were overwritten; the next one's number says how many
		case errors.Is(err, unix.EAGAIN):
			return lost, false, nil
		case err != nil || n == 0:
			return lost, true, err
		}
		var m syslog.Message
		sequence, ok := syslog.ParseKernel(s.buffer[:n], &m)
		if ok {
			if s.any && sequence > s.sequence+1 {
				lost += sequence - s.sequence - 1
			}
			s.sequence, s.any = sequence, true
		} else {
			m.Text = s.buffer[:n]
		}
		take(&m, n)
	}
	return lost, false, nil
}

// Close closes the log.
func (s *Source) Close() { file.Shut(&s.fd) }
