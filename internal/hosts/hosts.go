// Package hosts owns the host's side: which containers share its /dev, and the repair
// of all of them.
package hosts

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/containers"
	"devlog/internal/failure"
	"devlog/internal/names"
	"devlog/internal/plan"
	"devlog/internal/record"
	"devlog/internal/repair"
	"devlog/internal/settings"
	"devlog/internal/target"
)

// Sharer is a container that shares the host's /dev, or any container from All.
type Sharer struct {
	// PID is the host's ID of the container's first process, and Command its name.
	PID     int    `json:"pid"`
	Command string `json:"command"`
	// Name is the container's name; see target.NameOfProcess.
	Name string `json:"name"`
	// ID is what the runtime calls it, Called the name that people know it by, and Engine the
	// program that they start it with; empty if not known.
	ID     string `json:"id,omitempty"`
	Called string `json:"called,omitempty"`
	Engine string `json:"engine,omitempty"`
	// Facts and Plan are the result of repair.Check.
	Facts plan.Facts `json:"facts"`
	Plan  plan.Plan  `json:"plan"`
	// Ignored is what to say of its annotations that this version does not know.
	Ignored []string `json:"ignored,omitempty"`
	// Hook is why the last hook could not repair, until a repair works; nil if not known.
	Hook *failure.Failure `json:"hook,omitempty"`
	// Problem is why the container could not be inspected, or empty.
	Problem string `json:"problem,omitempty"`
	// process tells the process from a later one with the same ID.
	process record.Process
}

// List returns the containers that share this process's /dev, sorted by process ID. It leaves
// out containers that end meanwhile, and processes that share the host's /run too: they are
// not in a container.
func List(o repair.Options) ([]Sharer, error) {
	list, err := sharers(o)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	at := byPID(list)
	known, _ := containers.This().List()
	for _, c := range known {
		if i, ok := at[c.PID]; ok {
			list[i].know(c)
		}
	}
	return list, nil
}

// byPID returns the index of each process in the list.
func byPID(list []Sharer) map[int]int {
	at := map[int]int{}
	for i, s := range list {
		at[s.PID] = i
	}
	return at
}

// sharers is List without the names that people know.
func sharers(o repair.Options) ([]Sharer, error) {
	pids, err := target.Containers()
	if err != nil {
		return nil, err
	}
	var list []Sharer
	for _, pid := range pids {
		if s, ok := inspectInTime(pid, o, sharesDev); ok {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b Sharer) int { return a.PID - b.PID })
	return list, nil
}

// All returns the containers of List and all others that their engines' files and processes
// show, sorted by process ID. Containers that only hold a pod's namespaces are left out.
func All(o repair.Options) ([]Sharer, error) {
	list, err := sharers(o)
	if err != nil {
		return nil, err
	}
	at := byPID(list)
	known, _ := containers.This().List()
	for _, c := range known {
		if c.Sandbox {
			continue
		}
		i, ok := at[c.PID]
		if !ok {
			s, ok := inspectInTime(c.PID, o, func(*target.Target) bool { return true })
			if !ok {
				continue
			}
			i = len(list)
			list = append(list, s)
		}
		list[i].know(c)
	}
	slices.SortFunc(list, func(a, b Sharer) int { return a.PID - b.PID })
	return list, nil
}

// know adds what the engine's files tell of the container.
func (s *Sharer) know(c containers.Container) {
	s.ID, s.Called, s.Engine = c.ID, c.Called(), c.Engine
	s.Ignored = settings.Unknown(c.Annotations, c.Pod.Container)
}

// Ignored returns what to say of the annotations of the process's container that this version
// does not know.
func Ignored(pid int) []string {
	h := containers.This()
	of, ok := h.OfProcess(pid)
	if ok && of.Annotations == nil { // only its runtime's files tell where its bundle is
		list, _ := h.List()
		for _, c := range list {
			if c.PID == pid {
				of = c
			}
		}
	}
	return settings.Unknown(of.Annotations, of.Pod.Container)
}

// Shown is the name to show for the container: the one that people know, otherwise the
// runtime's, with an ID as short as engines show it.
func (s Sharer) Shown() string { return cmp.Or(s.Called, containers.Short(cmp.Or(s.ID, s.Name))) }

// Concerns returns whether devlog has to do with the container: it shares the host's /dev, or
// devlog was set up for it. Other containers may well do without a /dev/log.
func (s Sharer) Concerns() bool {
	return s.Facts.Dev.Sharing != plan.Private || s.Facts.Receiver.State != "" || s.Hook != nil || len(s.Ignored) > 0 || s.Problem != ""
}

// sharesDev returns whether the target is a container that shares this process's /dev.
func sharesDev(t *target.Target) bool { return t.SharesPath(names.Dev) && !t.SharesPath("/run") }

// sharerTimeout is how long the inspection of a container may take: a file system that the
// container made can block for ever.
const sharerTimeout = 5 * time.Second

// inspectInTime is inspectSharer with that limit.
func inspectInTime(pid int, o repair.Options, wanted func(*target.Target) bool) (Sharer, bool) {
	return inTime(sharerTimeout, pid, func() (Sharer, bool) { return inspectSharer(pid, o, wanted) })
}

// inTime returns what inspect returns of the process. An inspection that takes longer than limit
// stays behind on its own thread.
func inTime(limit time.Duration, pid int, inspect func() (Sharer, bool)) (Sharer, bool) {
	type answer struct {
		sharer Sharer
		ok     bool
	}
	done := make(chan answer, 1)
	go func() {
		s, ok := inspect()
		done <- answer{s, ok}
	}()
	select {
	case a := <-done:
		return a.sharer, a.ok
	case <-time.After(limit):
		return Sharer{PID: pid, Name: target.NameOfProcess(pid), Problem: fmt.Sprintf("it did not answer for %s", limit)}, true
	}
}

func inspectSharer(pid int, o repair.Options, wanted func(*target.Target) bool) (Sharer, bool) {
	s := Sharer{PID: pid, Name: target.NameOfProcess(pid)}
	t, err := target.OfProcess(pid)
	if err != nil {
		return s, false
	}
	defer t.Close()
	if s.process, err = record.Of(pid); err != nil {
		return s, false
	}
	if !wanted(t) {
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

// RepairAll repairs each container of the list that needs it, with the options that
// optionsFor returns for its name, and calls repaired for it. It continues after an error and
// returns all errors, each as a *SharerError. Containers that have ended are left out.
func RepairAll(list []Sharer, optionsFor func(name string) (repair.Options, error), repaired func(Sharer, *target.Target, repair.Options, repair.Result)) error {
	var errs []error
	for _, s := range list {
		if s.Plan.Verdict == plan.Healthy {
			continue
		}
		err := repairSharer(s, optionsFor, repaired)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, &SharerError{Sharer: s, Err: err})
		}
	}
	return errors.Join(errs...)
}

// RepairMounts repairs the containers that their receivers cannot repair: when the host is
// no longer prepared, each needs a mount, which a receiver in its sandbox cannot make.
func RepairMounts() error {
	o := repair.Options{Socket: names.DefaultSocket, Choice: plan.Choice{Strategy: plan.Auto}}
	list, err := sharers(o)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(s Sharer) bool {
		return !s.Facts.Watcher || s.Plan.Has(plan.OpStart) || s.Plan.Has(plan.OpWatch) || s.Plan.Has(plan.OpListen)
	})
	return RepairAll(list, func(string) (repair.Options, error) { return o, nil }, func(Sharer, *target.Target, repair.Options, repair.Result) {})
}

func repairSharer(s Sharer, optionsFor func(name string) (repair.Options, error), repaired func(Sharer, *target.Target, repair.Options, repair.Result)) error {
	if s.Problem != "" { // a repair would fail too, or block
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
		repaired(s, t, o, r)
	}
	return err
}

// is returns whether the target is the container that was listed, and not a later one whose
// first process has the same ID. The target holds that process.
func (s Sharer) is(t *target.Target) bool {
	return t.PID == s.PID && s.process.Runs()
}

// SharerError is the error of one of several containers.
type SharerError struct {
	Sharer Sharer
	Err    error
}

func (e *SharerError) Error() string {
	return "container " + e.Sharer.Shown() + " (process " + strconv.Itoa(e.Sharer.PID) + "): " + e.Err.Error()
}

func (e *SharerError) Unwrap() error { return e.Err }
