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

// rerunCommand is the command with which a receiver repairs again; it passes the handles that
// it holds.
func rerunCommand(t *target.Target, o Options) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot find this program: %w", err)
	}
	args := []string{self, names.AutoRepair, "--strategy", string(o.Strategy), "--socket", o.Socket}
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

// rerunMounts returns whether repairing again needs mounts, as this repair or an earlier one
// did.
func (w *work) rerunMounts() bool {
	if w.options.contested && w.facts.Dev.Sharing != plan.Private && !w.facts.HostPrepared() {
		return true // what it will need is not known
	}
	return w.plan.Has(plan.OpMount) || w.plan.Has(plan.OpTmpfs) || w.recorded.Mounted || w.options.Strategy == plan.Bind
}

// rerunNeeds says which privileges rerunCommand needs in the receiver's sandbox (devlogd's
// --command-needs).
func (w *work) rerunNeeds() string {
	t := w.target
	if w.rerunMounts() {
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

// passed returns the files for the receiver: the socket, and handles on what it removes when
// it ends. By then the container's root may be gone from every mount namespace.
func (w *work) passed() []handover.Passed {
	var files []handover.Passed
	unlinks := func(d *rootfs.Dir, name string) {
		files = append(files, passedName(d, handover.NameUnlink, name)...)
	}
	if w.socket != nil {
		files = append(files, handover.Passed{File: w.socket, Name: handover.NameSocket})
		unlinks(w.at, path.Base(w.plan.Socket))
	}
	files = append(files, w.further...)
	unlinks(w.at, names.Link)
	if w.target.Host {
		return files // the host stays prepared; the directory only identifies the watcher
	}
	if w.pointed != nil {
		unlinks(w.pointed, path.Base(w.plan.Pointed()))
	}
	unlinks(w.at, names.Record)
	return append(files, w.madeDirs()...)
}

// madeDirs are the directories that were created, innermost first, for the receiver to remove.
func (w *work) madeDirs() (files []handover.Passed) {
	for _, m := range slices.Backward(w.made) {
		files = append(files, passedName(m.Parent, handover.NameRmdir, m.Name)...)
	}
	return files
}

// passedName is a name in a directory to pass. It is empty for a name with a colon, which
// separates the names of passed files.
func passedName(d *rootfs.Dir, kind, name string) []handover.Passed {
	if strings.Contains(name, ":") {
		return nil
	}
	return []handover.Passed{{File: d.File(), Name: kind + name}}
}
