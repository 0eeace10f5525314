package running

import (
	"os"
	"testing"

	"devlog/internal/changes"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
	"devlog/internal/target"
)

// A repair cannot see the open files of the receiver that runs it, and mistakes no other
// process for it.
func TestFactsOfWatcher(t *testing.T) {
	root, err := rootfs.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	at, err := root.Dir("/")
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	own, err := target.Namespace("self", "pid")
	if err != nil {
		t.Fatal(err)
	}
	self := os.Getpid()
	for _, tt := range []struct {
		name    string
		record  changes.Changes
		watcher int
		want    plan.ReceiverState
	}{
		{"it is the watcher", changes.Changes{Receiver: self}, self, plan.Running},
		{"another", changes.Changes{Receiver: self + 1}, self, plan.Gone},
		{"the one before", changes.Changes{Receiver: self + 1, Unit: "devlog-c1.service"}, self, plan.Running},
		{"no watcher", changes.Changes{Receiver: self}, 0, plan.Gone},
	} {
		tt.record.PIDNS = own
		target := &target.Target{Watcher: tt.watcher}
		if got := Facts(&tt.record, target, at, plan.ReceiverFacts{}); got.State != tt.want || got.State == plan.Running && got.PID != self {
			t.Errorf("%s: %+v, want %v", tt.name, got, tt.want)
		}
	}
}
