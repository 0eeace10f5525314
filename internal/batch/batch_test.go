package batch

import (
	"math"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// newKept returns what uses the same memory as each process does.
func newKept(t *testing.T) (keep func(fresh bool) *Memory) {
	t.Helper()
	parts, err := unix.Mmap(-1, 0, HeadersSize+ControlSize+SlotsSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(parts) })
	return func(fresh bool) *Memory {
		return Keep(parts[:HeadersSize], parts[HeadersSize:HeadersSize+ControlSize], parts[HeadersSize+ControlSize:], &Marks{}, fresh)
	}
}

// sockets returns a socket that reports senders, and one that is connected to it.
func sockets(t testing.TB) (fd, client int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = unix.Close(pair[0]), unix.Close(pair[1]) })
	return pair[0], pair[1]
}

// Memory that outlives a process has the unwritten messages, and no pointers of the earlier
// process.
func TestKeep(t *testing.T) {
	keep := newKept(t)
	m := keep(true)
	if n := m.unwritten(); n != 0 {
		t.Errorf("fresh, it has %d messages", n)
	}
	fd, client := sockets(t)
	for _, text := range []string{"written", "a"} {
		m.Forget()
		if err := unix.Send(client, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
		if n, err := m.Receive(fd, Slots, true); n != 1 || err != nil {
			t.Fatalf("%d messages, %v", n, err)
		}
	}
	next := keep(false)
	if n := next.unwritten(); n != 1 {
		t.Fatalf("%d messages are left", n)
	}
	if raw, _ := next.Message(0); string(raw) != "a" || next.Sender(0).PID != int32(os.Getpid()) {
		t.Errorf("it is %q from %+v", raw, next.Sender(0))
	}
	next.Forget()
	if n := keep(false).unwritten(); n != 0 {
		t.Errorf("%d messages are left once they are written", n)
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

// Reading allocates nothing.
func BenchmarkReceive(b *testing.B) {
	m := New()
	if err := m.Allocate(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(m.Close)
	fd, client := sockets(b)
	text := []byte("<13>Feb  3 04:05:06 app[1]: a message")
	b.ReportAllocs()
	for b.Loop() {
		if err := unix.Send(client, text, 0); err != nil {
			b.Fatal(err)
		}
		if n, err := m.Receive(fd, Slots, true); n != 1 || err != nil {
			b.Fatalf("%d messages, %v", n, err)
		}
		if raw, _ := m.Message(0); len(raw) != len(text) || !m.Sender(0).Known {
			b.Fatalf("%q", raw)
		}
	}
}
