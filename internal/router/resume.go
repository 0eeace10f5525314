package router

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/handover"
	"devlog/internal/output"
	"devlog/internal/syslogconf"
)

// Describe returns what the next program needs to know of the outputs, for Resume.
func (r *Router) Describe(now time.Time) (list []*handover.Output) {
	for _, route := range r.Routes {
		t, ok := route.Out.(*MeteredOutput)
		if !ok {
			continue
		}
		o := &handover.Output{Path: handover.Text(t.Name()), Kind: int(t.Kind), Taken: t.Added, Bytes: t.Bytes, Repeated: t.Repeated, High: t.High}
		if l, ok := t.Output.(output.Lasting); ok {
			o.State = l.State(now)
		} else {
			c := t.Counts()
			o.State = output.State{Written: c.Written, Lost: c.Lost, FD: -1}
		}
		list = append(list, o)
	}
	return list
}

// Resume makes outputs that are opened from now on continue for an earlier program's. Until
// Resumed is called a file that cannot be opened is no error: it could a moment ago.
func (r *Router) Resume(list []*handover.Output) { r.left, r.tolerant = slices.Clone(list), true }

// Resumed forgets what Resume was given.
func (r *Router) Resumed() { r.left, r.tolerant = nil, false }

// resume makes an output continue for the one with its name.
func (r *Router) resume(t *MeteredOutput) {
	i := slices.IndexFunc(r.left, func(o *handover.Output) bool { return string(o.Path) == t.Name() && o.Kind == int(t.Kind) })
	if i < 0 {
		return
	}
	o := r.left[i]
	r.left = slices.Delete(r.left, i, i+1)
	if l, ok := t.Output.(output.Lasting); ok {
		t.Added, t.Bytes, t.Repeated, t.High = o.Taken, o.Bytes, o.Repeated, o.High
		l.Resume(o.State, time.Now())
	} else if o.State.FD >= 0 {
		_ = unix.Close(o.State.FD)
	}
}

// KeepOthers opens the outputs of an earlier program that no rule leads to any more, but
// that have messages to write.
func (r *Router) KeepOthers() {
	for _, o := range slices.Clone(r.left) {
		if len(o.State.Pending) == 0 {
			if o.State.FD >= 0 {
				_ = unix.Close(o.State.FD)
			}
			continue
		}
		r.keep(syslogconf.Kind(o.Kind), string(o.Path))
	}
}

// Check returns an error if an output of the rules could not be opened. Nothing that is
// open stays so, and no file is rotated: another process may have them open. name is what
// the kernel's log calls this host.
func (r *Router) Check(rules []syslogconf.Rule, name string) error {
	for _, rule := range rules {
		if rule.Kind == syslogconf.Everybody {
			continue
		}
		rule.Path = rule.Place()
		rule.Rotation = syslogconf.Rotation{}
		out, _, err := r.Open(rule, name)
		if err != nil {
			return err
		}
		out.Close()
	}
	return nil
}

// Unwritten returns how many messages the outputs have taken that are in this process only.
func (r *Router) Unwritten() (n uint64) {
	for _, route := range r.Routes {
		c := route.Out.Counts()
		n += c.Pending + c.Untold
		if t, ok := route.Out.(*MeteredOutput); ok {
			n += t.Repeats
		}
	}
	return n
}
