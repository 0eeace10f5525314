package devlog

import (
	"os"
	"testing"

	"devlog/internal/rootfs"
)

// A repair does not see the open files of the receiver that runs it, and takes no
// other process for it.
func TestFactsOfKeeper(t *testing.T) {
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
	own, err := namespace("self", "pid")
	if err != nil {
		t.Fatal(err)
	}
	self := os.Getpid()
	for _, tt := range []struct {
		name   string
		record record
		keeper int
		want   ReceiverState
	}{
		{"it is the keeper", record{Receiver: self}, self, Running},
		{"another", record{Receiver: self + 1}, self, Gone},
		{"the one before", record{Receiver: self + 1, Unit: "devlog-c1.service"}, self, Running},
		{"no keeper", record{Receiver: self}, 0, Gone},
	} {
		tt.record.PIDNS = own
		target := &Target{keeper: tt.keeper}
		if got := tt.record.facts(target, at, ReceiverFacts{}); got.State != tt.want || got.State == Running && got.PID != self {
			t.Errorf("%s: %+v, want %v", tt.name, got, tt.want)
		}
	}
}
