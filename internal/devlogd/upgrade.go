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

	"devlog/internal/daemon"
	"devlog/internal/earlysignal"
	"devlog/internal/eventloop"
	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/intake"
	"devlog/internal/memfd"
	"devlog/internal/receiver"
	"devlog/internal/syslog"
	"devlog/internal/watchdog"
)

// On SIGUSR2 the program is replaced by the one that is in its file now, in the
// same process. The sockets stay open, so that senders notice nothing. First
// the new program runs beside the old one, to say whether it could go on.

const (
	// checkTime is how long that may take.
	checkTime = 20 * time.Second
	// imageFD is the lowest descriptor of the new program: it is not to be in the
	// way of what is passed to a child.
	imageFD = 64
)

// upgrade is a new program that is to replace this one.
type upgrade struct {
	image  int // handle of its file
	result chan error
	ready  bool // it has said so
}

// startUpgrade begins to check the new program.
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
	eventloop.WakeMonitor() // the check is not to hold up the loop
}

// refuse says why the program is not replaced.
func (p *program) refuse(err error) {
	text := "upgrade failed, devlogd " + Version + " keeps running: " + err.Error()
	if p.confined() && strings.HasSuffix(text, unix.EACCES.Error()) {
		text += ": it may be outside the sandbox, which is fixed at the start: restart this receiver"
	}
	p.receiver.Say(syslog.Warning, text)
}

func (u *upgrade) close() { file.Shut(&u.image) }

// open opens the file that this program was started from, or what has replaced
// it since. The path counts in the root directory that it was started in.
func (u *upgrade) open(root file.ID) error {
	path, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if strings.HasPrefix(path, memfd.Prefix) {
		return errors.New("it runs from memory, so that the container cannot change its file: " +
			"restart the container, or end this receiver with SIGTERM and run devlog-hook repair")
	}
	if file.Root() != root {
		return fmt.Errorf("%s was in another root directory", path)
	}
	low, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(low)
	var st unix.Stat_t
	if err := unix.Fstat(low, &st); err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s is not a regular file", path)
	}
	if u.image, err = unix.FcntlInt(uintptr(low), unix.F_DUPFD_CLOEXEC, imageFD); err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	return nil
}

// check has the new program look at the state and the configuration, while this
// one goes on receiving. The result wakes it up.
func (u *upgrade) check(p *program) error {
	state, err := handover.StateFile(p.describe(time.Now()).Format())
	if err != nil {
		return err
	}
	dir, err := os.Getwd() // what the arguments name may be relative to it
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
		if err == nil { // it has said all, and ends
			_, err = daemon.End(pid)
		}
		u.result <- err
		p.signals.Wake()
	}()
	return nil
}

// checkUpgrade is the new program's part of check.
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
	return receiver.New(&receiver.Process{Loop: loop, Memory: intake.NewMemory(), Watchdog: watchdog.New(func() {}, func() {})}, o.receiver).CheckOutputs(rules)
}

// stepUpgrade replaces the program once that has been checked, and reports
// whether to end: a signal to do so may come last.
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
	// A repair is this process's child, which only its program waits for.
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

// exec replaces the program. It returns if a signal says to end, or with an
// error; then everything is as before.
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

// errSignalled is that there are signals to handle first.
var errSignalled = errors.New("signalled")

// leave leaves the description to the program that replaces this one.
func (p *program) leave(image int, d *handover.Description) error {
	runtime.LockOSThread() // signals are blocked by the thread that executes
	defer runtime.UnlockOSThread()
	var held *unix.Sigset_t
	err := handover.Exec(image, os.Args, os.Environ(), d, func() error {
		if err := p.hung(); err != nil {
			return err
		}
		old, err := p.signals.Hold() // as late as can be: what comes from here on is lost if this fails
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

// describe is what the next program needs to know.
func (p *program) describe(now time.Time) *handover.Description {
	d := p.receiver.Describe(now)
	d.Awaits, d.Confinement = p.awaits, p.sandbox
	if p.store != nil {
		d.Files.Store = p.store.FD
	}
	return d
}

// sayResumed says why another program goes on.
func (p *program) sayResumed(before *handover.Description) {
	if why := before.Unreadable; why != nil {
		p.receiver.Say(syslog.Warning, "started without the state of the previous devlogd: "+why.Error()+
			": its sockets are kept, its counters and unwritten messages are lost")
	}
	if p.store != nil && p.store.Restarted {
		p.sayRestarted()
	} else {
		p.receiver.Say(syslog.Notice, "upgraded to devlogd "+Version+" from "+cmp.Or(before.Program, "another version"))
	}
	p.receiver.Resumed()
}
