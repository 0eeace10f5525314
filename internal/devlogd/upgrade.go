package devlogd

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/batch"
	"devlog/internal/daemon"
	"devlog/internal/earlysignal"
	"devlog/internal/eventloop"
	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/memfd"
	"devlog/internal/process"
	"devlog/internal/receiver"
	"devlog/internal/syslog"
	"devlog/internal/watchdog"
)

// On SIGUSR2 the program is replaced in the same process by the one that is in its file now.
// The sockets stay open, so senders notice nothing. First the new program runs beside the old
// one, and reports whether it could continue.

const (
	// checkTime is how long that may take.
	checkTime = 20 * time.Second
	// imageFD is the lowest descriptor for the new program, above those for a child's files.
	imageFD = 64
)

// upgrade is the replacement of this program by another.
type upgrade struct {
	image  int // handle on its file
	result chan error
	ready  bool // the check succeeded
}

// startUpgrade starts the check of the new program.
func (p *program) startUpgrade() {
	if p.upgrade != nil {
		return
	}
	u := &upgrade{image: -1, result: make(chan error, 1)}
	err := p.hung()
	if err == nil {
		err = u.open(p.startRoot)
	}
	if err == nil {
		err = u.check(p)
	}
	if err != nil {
		u.close()
		p.refuse(err)
		return
	}
	p.upgrade = u
	eventloop.WakeMonitor() // the check must not delay the loop
}

// refuse reports why the program is not replaced.
func (p *program) refuse(err error) {
	text := "upgrade failed, devlogd " + Version + " keeps running: " + err.Error()
	if p.confined() && strings.HasSuffix(text, unix.EACCES.Error()) {
		text += " (it may be outside the sandbox, which is fixed at the start); hint: restart this receiver"
	}
	p.receiver.Say(syslog.Warning, text)
}

func (u *upgrade) close() { file.Shut(&u.image) }

// open opens the file from which this program was started, or its replacement. The path is
// only valid in the root directory of the start.
func (u *upgrade) open(root file.ID) error {
	path, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	if strings.HasPrefix(path, memfd.Prefix) {
		return errors.New("it runs from memory, so that the container cannot change its file; " +
			"hint: restart the container, or end this receiver with SIGTERM and run devlog-hook repair")
	}
	if file.Root() != root {
		return fmt.Errorf("%s was in another root directory", path)
	}
	low, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", path, err)
	}
	defer unix.Close(low)
	var st unix.Stat_t
	if err := unix.Fstat(low, &st); err != nil {
		return fmt.Errorf("cannot examine %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s is not a regular file", path)
	}
	if u.image, err = unix.FcntlInt(uintptr(low), unix.F_DUPFD_CLOEXEC, imageFD); err != nil {
		return fmt.Errorf("cannot open %s: %w", path, err)
	}
	return nil
}

// check makes the new program check the state and the configuration while this one continues.
// The result wakes the loop.
func (u *upgrade) check(p *program) error {
	state, err := handover.StateFile(p.describe(time.Now()).Format())
	if err != nil {
		return err
	}
	dir, err := os.Getwd() // arguments may have relative paths
	if err != nil {
		dir = "/"
	}
	spec := daemon.Spec{
		Path: file.Path(u.image), Args: os.Args[1:], Env: os.Environ(), Dir: dir,
		Files: []handover.Passed{{File: state, Name: handover.NameCheck}}, Timeout: checkTime,
	}
	go func() {
		defer state.Close()
		pid, err := daemon.Start(spec)
		if err == nil { // it has reported everything, and ends
			_, err = daemon.End(pid)
		}
		u.result <- err
		p.signals.Wake()
	}()
	return nil
}

// checkUpgrade is what the new program does for check.
func checkUpgrade(o *options, fd int) error {
	data, err := handover.ReadState(fd)
	if err != nil {
		return err
	}
	if d, err := handover.Parse(data); err == nil && !receiver.Receives(d) {
		return nil
	}
	rules, err := o.readRules()
	if err != nil {
		return err
	}
	loop, err := eventloop.New()
	if err != nil {
		return err
	}
	return receiver.New(&process.Process{Loop: loop, Memory: batch.New(), Watchdog: watchdog.New(func() {}, func() {})}, o.receiver).CheckOutputs(rules)
}

// stepUpgrade replaces the program after a successful check. It returns whether to end: a
// signal may come last.
func (p *program) stepUpgrade() (end bool) {
	u := p.upgrade
	if u == nil {
		return false
	}
	if !u.ready {
		select {
		case err := <-u.result:
			if err != nil {
				u.close()
				p.upgrade = nil
				eventloop.CalmMonitor()
				p.refuse(err)
				p.receiver.Flush(time.Now())
				return false
			}
			u.ready = true
		default:
			return false
		}
	}
	// Only this program can wait for a repair, which is its child.
	if p.receiver.Running() {
		return false
	}
	p.upgrade = nil
	defer u.close()
	end, err := p.exec(u.image)
	if err != nil {
		eventloop.CalmMonitor()
		p.refuse(err)
		p.receiver.Flush(time.Now())
	}
	return end
}

// exec replaces the program. It returns if a signal ends the program, or with an error. Then
// everything is as before.
func (p *program) exec(image int) (end bool, err error) {
	for {
		for p.signals.Pending() {
			p.signals.Take(func(s unix.Signal) { end = p.onSignal(s) || end })
		}
		if end {
			return true, nil
		}
		p.receiver.SumUp()
		now := time.Now()
		p.receiver.Flush(now)
		if err := p.leave(image, p.describe(now)); !errors.Is(err, errSignalled) {
			return false, err
		}
	}
}

// errSignalled means that there are signals to handle first.
var errSignalled = errors.New("signalled")

// leave passes the description to the program that replaces this one.
func (p *program) leave(image int, d *handover.Description) error {
	runtime.LockOSThread() // the thread that executes has the signals blocked
	defer runtime.UnlockOSThread()
	var held *unix.Sigset_t
	err := handover.Exec(image, os.Args, os.Environ(), d, func() error {
		if err := p.hung(); err != nil {
			return err
		}
		old, err := p.signals.Hold() // as late as possible: if the exec fails, signals from here on are lost
		if err != nil {
			return err
		}
		if held = &old; p.signals.Pending() {
			return errSignalled
		}
		return nil
	})
	if held != nil {
		p.signals.Release(earlysignal.Catch(), *held)
	}
	return err
}

// describe returns what the next program needs to know.
func (p *program) describe(now time.Time) *handover.Description {
	d := p.receiver.Describe(now)
	d.Awaits, d.Confinement = p.awaits, p.sandbox
	return d
}

// sayResumed reports why another program continues.
func (p *program) sayResumed(before *handover.Description) {
	if why := before.Unreadable; why != nil {
		p.receiver.Say(syslog.Warning, "started without the state of the previous devlogd: "+why.Error()+
			": its sockets are kept, its counters and unwritten messages are lost")
	}
	p.receiver.Say(syslog.Notice, "upgraded to devlogd "+Version+" from "+cmp.Or(before.Program, "another version"))
	p.receiver.Resumed()
}
