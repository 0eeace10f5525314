package receiver

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/daemon"
	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/memfd"
	"devlog/internal/output"
	"devlog/internal/router"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
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
func (r *receiver) startUpgrade() {
	if r.upgrade != nil {
		return
	}
	u := &upgrade{image: -1, result: make(chan error, 1)}
	err := r.hung()
	if err == nil {
		err = u.open(r.startRoot)
	}
	if err == nil {
		err = u.check(r)
	}
	if err != nil {
		u.close()
		r.refuse(err)
		return
	}
	r.upgrade = u
	wakeMonitor() // the check is not to hold up the loop
}

// refuse says why the program is not replaced.
func (r *receiver) refuse(err error) {
	text := "not upgraded, devlogd " + Version + " goes on: " + err.Error()
	if r.sandbox != nil && r.sandbox.landlock && strings.HasSuffix(text, unix.EACCES.Error()) {
		text += ": it may be outside this receiver's sandbox, which is that of its start: start it anew"
	}
	r.say(syslog.Warning, text)
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
			"start the container anew, or end it with SIGTERM and run devlog-hook repair")
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
func (u *upgrade) check(r *receiver) error {
	state, err := handover.StateFile(r.snapshot(time.Now()).format())
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
		r.signals.wake()
	}()
	return nil
}

// checkUpgrade is the new program's part of check.
func checkUpgrade(o *options, fd int, load loadRules) error {
	data, err := handover.ReadState(fd)
	if err != nil {
		return err
	}
	if s, err := parseSnapshot(data); err == nil && !s.receives() {
		return nil
	}
	rules, err := load()
	if err != nil {
		return err
	}
	r := newReceiver(o, load)
	for _, rule := range rules {
		if rule.Kind == syslogconf.Everybody {
			continue
		}
		rule.Path = rule.Place()
		rule.Rotation = syslogconf.Rotation{} // there is one already that does that
		out, _, err := r.router.Open(rule, o.name)
		if err != nil {
			return err
		}
		out.Close()
	}
	return nil
}

// stepUpgrade replaces the program once that has been checked, and reports
// whether to end: a signal to do so may come last.
func (r *receiver) stepUpgrade() (end bool) {
	u := r.upgrade
	if u == nil {
		return false
	}
	if !u.ready {
		select {
		case err := <-u.result:
			if err != nil {
				u.close()
				r.upgrade = nil
				calmMonitor()
				r.refuse(err)
				r.flush(time.Now())
				return false
			}
			u.ready = true
		default:
			return false
		}
	}
	// A repair is this process's child, which only its program waits for.
	if r.watcher != nil && r.watcher.Running() {
		return false
	}
	r.upgrade = nil
	defer u.close()
	end, err := r.exec(u.image)
	if err != nil {
		calmMonitor()
		r.refuse(err)
		r.flush(time.Now())
	}
	return end
}

// exec replaces the program. It returns if a signal says to end, or with an
// error; then everything is as before.
func (r *receiver) exec(image int) (end bool, err error) {
	for {
		for r.signals.pending() {
			if r.onSignal() {
				return true, nil
			}
		}
		r.router.SumUp()
		now := time.Now()
		r.flush(now)
		s := r.snapshot(now)
		if err := r.leave(image, s); !errors.Is(err, errSignalled) {
			return false, err
		}
	}
}

// errSignalled is that there are signals to handle first.
var errSignalled = errors.New("signalled")

// leave leaves the snapshot to the program that replaces this one.
func (r *receiver) leave(image int, s *snapshot) error {
	state, err := handover.StateFile(s.format())
	if err != nil {
		return err
	}
	defer state.Close()
	runtime.LockOSThread() // signals are blocked by the thread that executes
	defer runtime.UnlockOSThread()
	var held *unix.Sigset_t
	err = handover.Exec(image, os.Args, os.Environ(), state, s.descriptors(), func() error {
		old, err := r.signals.hold()
		if err != nil {
			return err
		}
		if held = &old; r.signals.pending() {
			return errSignalled
		}
		return r.hung()
	})
	if held != nil {
		r.signals.release(*held)
	}
	return err
}

// descriptors are all that the state names.
func (s *snapshot) descriptors() (list []int) {
	_ = s.eachDescriptor(func(fd *int) error {
		if *fd >= 0 {
			list = append(list, *fd)
		}
		return nil
	})
	return list
}

// snapshot is what the receiver leaves behind.
func (r *receiver) snapshot(now time.Time) *snapshot {
	s := &snapshot{store: -1, base: baseState{
		version: Version, open: r.batch != nil, init: r.init, root: -1, counters: r.counters, unsaid: r.limits.unsaid,
	}}
	index := map[*cleanup]int{}
	for i, p := range r.cleanups {
		index[p] = i
		s.places = append(s.places, &placeState{p.dir, p.name, p.flags, p.id})
	}
	for _, k := range r.sockets {
		at := -1
		if i, ok := index[k.at]; ok {
			at = i
		}
		kind := kindDgram
		if k.stream {
			kind = kindStream
		}
		s.sockets = append(s.sockets, &socketState{
			fd: k.fd, kind: kind, path: k.path, place: at, id: k.id, run: k.run, debt: max(0, k.bucket.full.Sub(now)),
		})
	}
	if r.store != nil {
		s.store = r.store.fd
	}
	if r.streams != nil { // the oldest first, which is the order they are resumed in
		for c := r.streams.oldest; c != nil; c = c.newer {
			s.conns = append(s.conns, &connState{
				fd: c.fd, framing: c.frame.code(), from: slices.Index(r.sockets, c.from), skip: c.frame.skip, sender: c.sender, rest: bytes.Clone(c.rest),
			})
		}
	}
	if k := r.kernel; k != nil && k.fd >= 0 {
		s.kernel = &kernelState{fd: k.fd, sequence: k.sequence, any: k.any}
	}
	s.sandbox, s.awaits = r.sandbox, r.awaits
	if r.watcher != nil {
		s.base.root = r.watcher.Root()
		s.keeper = ofWatcher(r.watcher.State(), now)
	}
	for _, route := range r.router.Routes {
		t, ok := route.Out.(*router.MeteredOutput)
		if !ok {
			continue
		}
		o := &outputState{path: t.Name(), kind: int(t.Kind), taken: t.Taken, bytes: t.Bytes, repeated: t.Repeated, high: t.High}
		if l, ok := t.Output.(output.Lasting); ok {
			o.State = l.State(now)
		} else {
			c := t.Counts()
			o.State = output.State{Written: c.Written, Lost: c.Lost, FD: -1}
		}
		s.outputs = append(s.outputs, o)
	}
	return s
}
