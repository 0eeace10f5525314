package intake

import (
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/batch"
	"devlog/internal/syslogconf"
)

// newKept returns what uses the same memory as each process does, and the notes about that.
func newKept(t *testing.T) (keep func(fresh bool) *batch.Memory, marks *batch.Marks) {
	t.Helper()
	parts, err := unix.Mmap(-1, 0, batch.HeadersSize+batch.ControlSize+batch.SlotsSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(parts) })
	marks = &batch.Marks{}
	return func(fresh bool) *batch.Memory {
		return batch.Keep(parts[:batch.HeadersSize], parts[batch.HeadersSize:batch.HeadersSize+batch.ControlSize], parts[batch.HeadersSize+batch.ControlSize:], marks, fresh)
	}, marks
}

// What is held in memory that outlives the process is written before it is overwritten.
func TestOverwrite(t *testing.T) {
	keep, _ := newKept(t)
	b := newBench(t, "", syslogconf.Block)
	b.memory = keep(true)
	fd := b.dial(b.listen(unix.SOCK_DGRAM), unix.SOCK_DGRAM)
	for n, text := range []string{"a", "b", "c"} {
		b.send(fd, text)
		b.want(text)
		if b.got.flushed != n {
			t.Errorf("%d messages were written %d times", n, b.got.flushed)
		}
	}
}

// What a process has read of streams and of the journal's entries, and not written, is counted as lost
// by the next, also in the middle of a read.
func TestLost(t *testing.T) {
	keep, marks := newKept(t)
	b := newBench(t, "", syslogconf.Block)
	b.memory, b.Number = keep(true), 7
	lost := func(want uint64) {
		t.Helper()
		if got := keep(false).Lost(); got != want || got > 0 && marks.Number != 7 {
			t.Errorf("%d messages of %+v are lost, want %d", got, marks, want)
		}
	}
	datagrams, entries, stream := b.dial(b.listen(unix.SOCK_DGRAM), unix.SOCK_DGRAM), b.entries(), b.dial(b.listen(unix.SOCK_STREAM), unix.SOCK_STREAM)
	lost(0)
	b.send(stream, "one\ntwo\nthr")
	b.want("one", "two")
	lost(3)
	b.send(datagrams, "a", "b")
	before := b.got.flushed
	b.want("a", "b")
	lost(2)
	if b.got.flushed != before+1 {
		t.Error("the stream's messages were not written before they were overwritten")
	}
	b.send(entries, "MESSAGE=x\nSYSLOG_IDENTIFIER=x\n", "MESSAGE=y\nSYSLOG_IDENTIFIER=x\n")
	b.memory.Forget() // as the outputs' end of a write does
	b.run(2)
	if len(b.got.texts) != 2 {
		t.Errorf("%q", b.got.texts)
	}
	b.got.texts = nil
	lost(2)
	b.Intake.Forget()
	lost(0)
	b.must(unix.Shutdown(stream, unix.SHUT_WR))
	b.want("thr") // its end is no message
	lost(0)
	for _, s := range b.sockets {
		if s.Journal {
			b.must(b.receive(s, 1))
		}
	}
	lost(0)
}

// What another container's messages wait for may take long: a socket that is closed meanwhile is not read.
func TestSettle(t *testing.T) {
	keep, _ := newKept(t)
	b := newBench(t, "", syslogconf.Block)
	b.memory = keep(true)
	other := New(b.loop, b.memory, &taker{}, syslogconf.Rate{}, syslogconf.Block)
	t.Cleanup(other.Close)
	s, err := Listen(b.dir+"/other", unix.SOCK_DGRAM, false)
	b.must(err)
	b.must(other.Add(s))
	fd, to := b.dial(b.listen(unix.SOCK_DGRAM), unix.SOCK_DGRAM), b.dial(s.Path, unix.SOCK_DGRAM)
	for _, closed := range []bool{false, true} {
		settled := 0
		b.got.settle = func() {
			if settled++; closed {
				other.sockets = nil
			}
		}
		b.send(fd, "a")
		b.want("a")
		before := other.Received
		b.send(to, "b")
		b.must(b.loop.RunOnce())
		if read := other.Received - before; settled != 1 || read == 1 == closed {
			t.Errorf("closed %t: settled %d times, read %d", closed, settled, read)
		}
		other.Forget()
	}
}
