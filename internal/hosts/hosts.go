// Package hosts owns the host's side: which containers share its /dev, and the repair
// of all of them.
package hosts

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/failure"
	"devlog/internal/names"
	"devlog/internal/pidfd"
	"devlog/internal/plan"
	"devlog/internal/repair"
	"devlog/internal/target"
)

// Sharer is a container that shares the host's /dev.
type Sharer struct {
	// PID is the container's first process, as seen from the host, and
	// Command its name.
	PID     int    `json:"pid"`
	Command string `json:"command"`
	// Name is the container's name, as far as its cgroup tells it.
	Name string `json:"name"`
	// Facts and Plan are as Check finds them.
	Facts plan.Facts `json:"facts"`
	Plan  plan.Plan  `json:"plan"`
	// Hook is why the last hook could not repair, while that is not done; nil if
	// that is not known.
	Hook *failure.Failure `json:"hook,omitempty"`
	// Problem is why nothing could be found out, or empty.
	Problem string `json:"problem,omitempty"`
	// started tells the process from a later one that got the same ID.
	started string
}

// List lists the containers whose /dev is this process's, by their first
// processes. Processes that end meanwhile, and those that have the host's /run as
// well and so are none of a container, are passed over.
func List(o repair.Options) ([]Sharer, error) {
	pids, err := target.Containers()
	if err != nil {
		return nil, err
	}
	var list []Sharer
	for _, pid := range pids {
		if s, ok := inspectInTime(pid, o); ok {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b Sharer) int { return a.PID - b.PID })
	return list, nil
}

// sharerTimeout is how long a container may take to be looked at: a file system
// of its own making can answer never.
const sharerTimeout = 5 * time.Second

// inspectInTime is inspectSharer with that limit. What takes longer stays
// behind on a thread of its own.
func inspectInTime(pid int, o repair.Options) (Sharer, bool) {
	type answer struct {
		sharer Sharer
		ok     bool
	}
	done := make(chan answer, 1)
	go func() {
		s, ok := inspectSharer(pid, o)
		done <- answer{s, ok}
	}()
	select {
	case a := <-done:
		return a.sharer, a.ok
	case <-time.After(sharerTimeout):
		return Sharer{PID: pid, Name: target.NameOfProcess(pid), Problem: fmt.Sprintf("it does not answer for %s", sharerTimeout)}, true
	}
}

func inspectSharer(pid int, o repair.Options) (Sharer, bool) {
	s := Sharer{PID: pid, Name: target.NameOfProcess(pid)}
	t, err := target.OfProcess(pid)
	if err != nil {
		return s, false
	}
	defer t.Close()
	if s.started, err = pidfd.StartTime(pid); err != nil {
		return s, false
	}
	if !t.SharesPath(names.Dev) || t.SharesPath("/run") {
		return s, false
	}
	if comm, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm"); err == nil {
		s.Command = strings.TrimSpace(string(comm))
	}
	r, err := repair.Check(t, o)
	if target.Ended(t.Init) {
		return s, false
	}
	if err != nil {
		s.Problem = err.Error()
	}
	s.Facts, s.Plan = r.Facts, r.Plan
	if !r.Works() {
		s.Hook = failure.Of(t, s.Name)
	}
	return s, true
}

// RepairAll repairs each container of the list that needs it, with the
// options that optionsFor returns for its name, and calls said for it. It goes on
// after an error and returns all of them; what has ended since is passed over.
func RepairAll(list []Sharer, optionsFor func(name string) (repair.Options, error), said func(Sharer, *target.Target, repair.Options, repair.Result)) error {
	var errs []error
	for _, s := range list {
		if s.Plan.Verdict == plan.Healthy {
			continue
		}
		err := repairSharer(s, optionsFor, said)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, &SharerError{Sharer: s, Err: err})
		}
	}
	return errors.Join(errs...)
}

// RepairMounts repairs those containers of the list that their receivers cannot:
// once the host is not prepared any more a repair mounts, which nobody may in a
// receiver's sandbox. It starts no receiver, and returns all errors.
func RepairMounts(list []Sharer, o repair.Options) error {
	list = slices.DeleteFunc(list, func(s Sharer) bool {
		return !s.Facts.Watcher || s.Plan.Has(plan.OpStart) || s.Plan.Has(plan.OpWatch) || s.Plan.Has(plan.OpListen)
	})
	return RepairAll(list, func(string) (repair.Options, error) { return o, nil }, func(Sharer, *target.Target, repair.Options, repair.Result) {})
}

func repairSharer(s Sharer, optionsFor func(name string) (repair.Options, error), said func(Sharer, *target.Target, repair.Options, repair.Result)) error {
	if s.Problem != "" { // it would be in the way of a repair too, or hold it up for ever
		return errors.New(s.Problem)
	}
	o, err := optionsFor(s.Name)
	if err != nil {
		return err
	}
	t, err := target.OfProcess(s.PID)
	if err != nil {
		return err
	}
	defer t.Close()
	if !s.is(t) {
		return unix.ESRCH
	}
	r, err := repair.Do(t, o)
	if err == nil {
		said(s, t, o, r)
	}
	return err
}

// is says whether the container is the one that was listed, and not another
// whose first process got the same ID since. The target pins that process.
func (s Sharer) is(t *target.Target) bool {
	started, err := pidfd.StartTime(t.PID)
	return err == nil && t.PID == s.PID && started == s.started
}

// SharerError is an error of one of many containers.
type SharerError struct {
	Sharer Sharer
	Err    error
}

func (e *SharerError) Error() string {
	return "container " + e.Sharer.Name + " (process " + strconv.Itoa(e.Sharer.PID) + "): " + e.Err.Error()
}

func (e *SharerError) Unwrap() error { return e.Err }
