package hosts

import (
	"errors"
	"os"
	"testing"
	"time"

	"devlog/internal/pidfd"
	"devlog/internal/plan"
	"devlog/internal/record"
	"devlog/internal/repair"
	"devlog/internal/target"
)

// A listed container is not mistaken for a later one with its process ID. A container
// that could not be inspected is not repaired.
func TestSharerIs(t *testing.T) {
	pid := os.Getpid()
	started, err := pidfd.StartTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what   string
		sharer Sharer
		want   bool
	}{
		{"itself", Sharer{PID: pid, process: record.Process{PID: pid, Started: started}}, true},
		{"a later one", Sharer{PID: pid, process: record.Process{PID: pid, Started: started + "0"}}, false},
		{"not looked at", Sharer{PID: pid}, false},
		{"another", Sharer{PID: pid + 1, process: record.Process{PID: pid, Started: started}}, false},
	} {
		if got := tt.sharer.is(&target.Target{PID: pid}); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.what, got, tt.want)
		}
	}
	hangs := Sharer{PID: pid, Problem: "it does not answer", Plan: plan.Plan{Verdict: plan.NeedsRepair}}
	err = RepairAll([]Sharer{hangs}, func(string) (repair.Options, error) {
		t.Error("it is repaired")
		return repair.Options{}, nil
	}, nil)
	var of *SharerError
	if !errors.As(err, &of) || of.Err.Error() != hangs.Problem {
		t.Errorf("RepairSharers: %v", err)
	}
}

// A container that never answers is not waited for.
func TestInTime(t *testing.T) {
	answer := make(chan bool)
	defer close(answer)
	s, ok := inTime(10*time.Millisecond, os.Getpid(), func() (Sharer, bool) { return Sharer{}, <-answer })
	if !ok || s.PID != os.Getpid() || s.Problem != "it did not answer for 10ms" {
		t.Errorf("%+v, %t", s, ok)
	}
}
