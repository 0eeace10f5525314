package lost

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/daemon"
	"devlog/internal/eventloop"
	"devlog/internal/file"
	"devlog/internal/names"
	"devlog/internal/pidfd"
	"devlog/internal/record"
)

const (
	// maxRuns is how many repairs run at the same time.
	maxRuns = 4
	// runTime is how long a repair may take: a file system that the container has made may
	// never answer.
	runTime = 30 * time.Second
)

// Runner has containers repaired again. Only its loop's goroutine uses it.
type Runner struct {
	loop    *eventloop.Loop
	dir     string // of the containers' files
	hook    string // the path of the hook's program
	serves  func(init record.Process) bool
	failed  func(text string)
	limit   time.Duration // of a repair
	numbers []uint64
	runs    int
	left    []uint64 // containers that were not repaired
}

// NewRunner returns a runner that runs the hook's program for containers whose files are in the
// directory. serves returns whether the service receives for the container with that first process.
// failed is called for each container that was not repaired; unless it was killed, the program has
// written the reason to standard error.
func NewRunner(loop *eventloop.Loop, dir, hook string, serves func(init record.Process) bool, failed func(text string)) *Runner {
	return &Runner{loop: loop, dir: dir, hook: hook, serves: serves, failed: failed, limit: runTime}
}

// Repair has the containers with these numbers repaired, maxRuns at a time.
func (r *Runner) Repair(numbers []uint64) {
	r.numbers = append(r.numbers, slices.Sorted(slices.Values(numbers))...)
	r.next()
}

func (r *Runner) next() {
	for len(r.numbers) > 0 && r.runs < maxRuns {
		number := r.numbers[0]
		r.numbers = r.numbers[1:]
		if err := r.run(number); err != nil {
			r.left = append(r.left, number)
			r.failed("cannot run " + r.hook + ": " + err.Error())
		}
	}
}

// Repaired removes the file of a container with that first process, if it was not repaired before and
// somebody has done it now: who undoes that does not expect another repair.
func (r *Runner) Repaired(init record.Process) {
	r.left = slices.DeleteFunc(r.left, func(number uint64) bool {
		return r.unsave(number, func(of record.Process) bool { return of == init })
	})
}

// unsave removes the file of a container whose first process is one of those.
func (r *Runner) unsave(number uint64, is func(init record.Process) bool) bool {
	s, err := Read(r.dir, number)
	return err == nil && is(s.Init) && Unsave(r.dir, number) == nil
}

// run starts the repair of a container.
func (r *Runner) run(number uint64) error {
	null, err := file.OpenNull()
	if err != nil {
		return err
	}
	defer null.Close()
	pid, err := syscall.ForkExec(r.hook, []string{r.hook, names.RepairLost, "--container", strconv.FormatUint(number, 10)}, &syscall.ProcAttr{
		Dir: "/", Env: daemon.Env("TZ"), Files: []uintptr{null.Fd(), null.Fd(), os.Stderr.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return err
	}
	handle, err := pidfd.Open(pid)
	if err != nil {
		_, eerr := daemon.End(pid)
		return errors.Join(err, eerr)
	}
	fd := int(handle.Fd())
	late := r.loop.NewTimer(func(time.Time) { _ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) }) // it may have ended
	if err := r.loop.Add(fd, func() {
		late.Set(time.Time{})
		_ = r.loop.Remove(fd)
		_ = handle.Close()
		r.runs--
		// A repair that was killed may have handed the container over before.
		if how, ok := daemon.Reap(pid); !ok && !r.unsave(number, r.serves) {
			r.left = append(r.left, number)
			r.failed("the repair of container " + strconv.FormatUint(number, 10) + " failed (" + how + "): its senders get an error; hint: run devlog-hook repair")
		}
		r.next()
	}); err != nil {
		_ = handle.Close()
		_, eerr := daemon.End(pid)
		return errors.Join(err, eerr)
	}
	r.runs++
	late.Set(time.Now().Add(r.limit))
	return nil
}
