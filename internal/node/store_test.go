package node

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"devlog/internal/batch"
	"devlog/internal/notify"
	"devlog/internal/process"
	"devlog/internal/receiver"
	"devlog/internal/syslog"
	"devlog/internal/worker"
)

// newTestNode returns a node without a process that reads, and what it tells its service manager.
func newTestNode(t *testing.T) (n *Node, manager *net.UnixConn) {
	t.Helper()
	at := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(notify.Variable, at)
	p, err := process.New("1", batch.New(), func() {}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Loop.Close(); _ = manager.Close() })
	g := newGuard(time.Hour, func(*section) {})
	return &Node{
		Config: Config{Process: p, Parse: func([]string) (receiver.Config, error) { return receiver.Config{Name: "c"}, nil }, Log: func(syslog.Severity, string) {}},
		worker: new(worker.Worker), containers: map[uint64]*container{}, store: newStore(g), guard: g,
	}, manager
}

// A container that ends before its hook confirms is not given to the service manager: its descriptors may
// be the files of others by then.
func TestConfirmedAfterEnd(t *testing.T) {
	n, manager := newTestNode(t)
	c, err := n.newContainer(nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	c.starting = true
	c.close()
	c.confirmed(true, nil)
	c.Stepped(time.Now())
	const last = "STATUS=last"
	if err := notify.Send(last); err != nil {
		t.Fatal(err)
	}
	var said [100]byte
	if size, err := manager.Read(said[:]); err != nil || string(said[:size]) != last {
		t.Errorf("the service manager was told %q, %v", said[:size], err)
	}
}
