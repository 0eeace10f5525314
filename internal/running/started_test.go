package running

import (
	"os"
	"strconv"
	"testing"

	"devlog/internal/changes"
	"devlog/internal/rootfs/rootfstest"
	"devlog/internal/target"
)

// A process that looks like a receiver, and is not this user's on the host, counts only if its
// container's record names it.
func TestStarted(t *testing.T) {
	ns, err := target.Namespace("self", "pid")
	if err != nil {
		t.Fatal(err)
	}
	at, path := rootfstest.Dir(t)
	pid, since := startReceiver(t, path)
	started := func(r Receiver) bool {
		r.PID, r.Container = pid, os.Getpid()
		return r.started()
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	if !started(Receiver{OnHost: true}) || started(Receiver{}) {
		t.Error("without a record, it is to be a receiver on the host only")
	}
	for name, tt := range map[string]struct {
		record changes.Changes
		want   bool
	}{
		"its own":     {changes.Changes{Receiver: target.InnermostPID(string(status)), PIDNS: ns, Started: since}, true},
		"a later one": {changes.Changes{Receiver: target.InnermostPID(string(status)), PIDNS: ns, Started: since + "0"}, false},
		"another's":   {changes.Changes{Receiver: os.Getpid(), PIDNS: ns, Started: since}, false},
		"a service's": {changes.Changes{Unit: "devlog-c1.service"}, false},
	} {
		if err := tt.record.Write(at); err != nil {
			t.Fatal(err)
		}
		if got := started(Receiver{}); got != tt.want {
			t.Errorf("%s: %t, want %t", name, got, tt.want)
		}
	}
}
