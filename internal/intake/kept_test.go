package intake

import (
	"math"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"devlog/internal/syslogconf"
)

// newKept returns what uses the same memory as each process does, and the notes about that.
func newKept(t *testing.T) (keep func(fresh bool) *Memory, marks *Marks) {
	t.Helper()
	parts, err := unix.Mmap(-1, 0, HeadersSize+ControlSize+SlotsSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(parts) })
	marks = &Marks{}
	return func(fresh bool) *Memory {
		return KeepMemory(parts[:HeadersSize], parts[HeadersSize:HeadersSize+ControlSize], parts[HeadersSize+ControlSize:], marks, fresh)
	}, marks
}

// Memory that outlives a process has the unwritten messages, and no pointers of the earlier
// process.
func TestKeepMemory(t *testing.T) {
	keep, _ := newKept(t)
	b := newBench(t, "", syslogconf.Block)
	b.memory = keep(true)
	if n := b.memory.unwritten(); n != 0 {
		t.Errorf("fresh, it has %d messages", n)
	}
	b.AskSenders()
	fd := b.dial(b.listen(unix.SOCK_DGRAM), unix.SOCK_DGRAM)
	b.send(fd, "written")
	b.want("written")
	b.memory.Forget()
	b.send(fd, "a")
	b.want("a")
	next := keep(false)
	if n := next.unwritten(); n != 1 {
		t.Fatalf("%d messages are left", n)
	}
	if raw, _ := next.message(0); string(raw) != "a" || next.sender(0).PID != int32(os.Getpid()) {
		t.Errorf("it is %q from %+v", raw, next.sender(0))
	}
	next.Forget()
	if n := keep(false).unwritten(); n != 0 {
		t.Errorf("%d messages are left once they are written", n)
	}
	b.memory = next
	before := b.got.flushed
	b.send(fd, "c")
	b.want("c")
	b.send(fd, "d")
	b.want("d")
	if b.got.flushed != before+1 {
		t.Errorf("what is held was written %d times before it was overwritten", b.got.flushed-before)
	}
	const address = 0xc000123000 & math.MaxUint // of 32 bits too
	for i := range next.headers {
		*(*uintptr)(unsafe.Pointer(&next.headers[i].header.Control)) = address
	}
	for i, h := range keep(false).headers {
		if *(*uintptr)(unsafe.Pointer(&h.header.Control)) != 0 {
			t.Fatalf("header %d has an address of the process before", i)
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
