package receiver

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/kmsg"
	"devlog/internal/router"
	"devlog/internal/syslog"
)

// fakeKernel returns a receiver that reads a socket as the kernel's log, and the socket's other
// end. There too, each read returns one record.
func fakeKernel(t *testing.T, rule ...string) (r *Receiver, log *recorder, to int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(pair[1]) })
	log = &recorder{keep: true}
	r = withRoutes(t)
	for _, text := range rule {
		r.router.Routes = append(r.router.Routes, router.Route{Out: log, Rules: rules(t, text)})
	}
	if err := r.addKernel(kmsg.Resume(pair[0], 0, false)); err != nil {
		t.Fatal(err)
	}
	return r, log, pair[1]
}

func TestKernelSource(t *testing.T) {
	r, log, to := fakeKernel(t, "*.* -/m")
	for _, record := range []string{"6,7,1,-;first\n SUBSYSTEM=x\n", "30,8,1,-;a[1]: user space\n", "2,12,1,-;after a gap\n", "14,13,1,-;box: a: not ours\n", "garbage"} {
		send(t, to, record)
	}
	if err := r.process.Loop.RunOnce(); err != nil {
		t.Fatal(err)
	}
	want := []string{"box kernel: first\n", "box a[1]: user space\n", "box kernel: after a gap\n", "box box: a: not ours\n", "box garbage\n"}
	if len(log.lines) != 6 || !slices.Equal(log.lines[:5], want) || !strings.Contains(log.lines[5], "3 messages of the kernel's log lost") {
		t.Errorf("%q", log.lines)
	}
	if r.counts.Received != 5 || r.counts.Own != 1 || r.counts.Routed != 6 || r.counts.Overwritten != 3 || r.counts.Bytes == 0 {
		t.Errorf("%+v", r.counts)
	}
	_ = unix.Shutdown(to, unix.SHUT_WR)
	r.readKernel(maxRecords)
	if r.kernel.FD() >= 0 || !strings.Contains(log.lines[len(log.lines)-1], "the kernel's log has ended") {
		t.Errorf("the end: %q", log.lines)
	}
}

// The receiver ignores its own records in the kernel's log, and writes no record of the
// kernel's log back to it.
func TestKernelSourceDoesNotLoop(t *testing.T) {
	r, log, to := fakeKernel(t, "*.* /dev/kmsg")
	send(t, to, "10,1,1,-;box: a[1]: ours", "2,2,1,-;the kernel's", "10,3,1,-;boxer: a: another's")
	r.readKernel(maxRecords)
	if len(log.lines) > 0 || r.counts.ReadBack != 1 || r.counts.Unrouted != 2 {
		t.Errorf("%q, own %d, unrouted %d", log.lines, r.counts.ReadBack, r.counts.Unrouted)
	}
	r.handle([]byte("<13>a: from a client"), false, syslog.Sender{})
	if len(log.lines) != 1 {
		t.Errorf("%q", log.lines)
	}
}
