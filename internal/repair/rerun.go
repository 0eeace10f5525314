package repair

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"devlog/internal/daemon"
	"devlog/internal/handover"
	"devlog/internal/launch"
	"devlog/internal/names"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
	"devlog/internal/target"
)

// healCommand is the command that a receiver runs, with the handles that it
// has held since, to have the same repair made again.
func healCommand(t *target.Target, o Options) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	args := []string{self, "heal", "--strategy", string(o.Strategy), "--socket", o.Socket}
	for _, place := range o.Known {
		args = append(args, "--adopt", place)
	}
	if t.Host {
		return append(args, "--host", "--keep"), nil
	}
	if o.NoReceiver {
		args = append(args, "--receiver", launch.NoReceiver)
	}
	if t.Init != nil {
		args = append(args, "--container", t.Identity())
	}
	return args, nil
}

// healMounts says that what keeps the repair has to mount: that was made by
// mounts, or is to be.
func (w *work) healMounts() bool {
	return w.plan.Has(plan.OpMount) || w.plan.Has(plan.OpTmpfs) || w.noted.Mounted || w.options.Strategy == plan.Bind
}

// healNeeds is which rights the repair's command needs in the receiver's sandbox
// (devlogd's --command-needs).
func (w *work) healNeeds() string {
	t := w.target
	if w.healMounts() {
		return daemon.NeedsMounts
	}
	if t.Host {
		return daemon.NeedsHost
	}
	if t.UID != 0 || t.GID != 0 {
		return daemon.NeedsIDs // to act as the container's root
	}
	return daemon.NeedsNames
}

// passed is what a receiver gets of the work: the socket, and handles of what
// it is to remove when it ends, which may be after the container's root has
// gone from every mount namespace.
func (w *work) passed() []handover.Passed {
	var files []handover.Passed
	pass := func(d *rootfs.Dir, kind, name string) {
		if !strings.Contains(name, ":") { // it separates the names that are passed
			files = append(files, handover.Passed{File: d.File(), Name: kind + name})
		}
	}
	if w.socket != nil {
		files = append(files, handover.Passed{File: w.socket, Name: handover.NameSocket})
		pass(w.at, handover.NameUnlink, path.Base(w.plan.Socket))
	}
	pass(w.at, handover.NameUnlink, names.Link)
	if w.target.Host {
		return files // it stays prepared without a keeper; the directory says whose keeper it is
	}
	if w.pointed != nil {
		pass(w.pointed, handover.NameUnlink, path.Base(w.facts.Log.Leads.Path))
	}
	pass(w.at, handover.NameUnlink, names.Record)
	for _, m := range slices.Backward(w.made) {
		pass(m.Parent, handover.NameRmdir, m.Name)
	}
	return files
}
