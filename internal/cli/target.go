package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"devlog/internal/containers"
	"devlog/internal/launch"
	"devlog/internal/names"
	"devlog/internal/oldlogs"
	"devlog/internal/plan"
	"devlog/internal/repair"
	"devlog/internal/target"
	"devlog/internal/usage"
)

// targetAndOptions reads the flags of check and repair.
func (p *program) targetAndOptions(c *cli.Context) (*target.Target, repair.Options, error) {
	t, name, err := p.target(c)
	if err != nil {
		return nil, repair.Options{}, err
	}
	o, err := p.options(c, name)
	if err == nil && c.Bool("host") && o.Socket != names.DefaultSocket {
		err = usage.Errorf("--socket and --host exclude each other")
	}
	if err != nil {
		t.Close()
		return nil, repair.Options{}, err
	}
	if c.String("root") != "" && o.NoReceiver {
		o.NoAutoRepair = true // a watcher would not know when the container ends
	}
	return t, o, nil
}

// onTarget returns the action of a command on a target.
func (p *program) onTarget(run func(*cli.Context, *target.Target, repair.Options) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		t, o, err := p.targetAndOptions(c)
		if err != nil {
			return err
		}
		defer t.Close()
		return run(c, t, o)
	}
}

// repairOne repairs the target that open finds.
func repairOne(open func() (*target.Target, error), o repair.Options) (repair.Result, error) {
	t, err := open()
	if err != nil {
		return repair.Result{}, err
	}
	defer t.Close()
	return repair.Do(t, o)
}

// target reads the flags that choose the container. It also returns the container's name
// without --name.
func (p *program) target(c *cli.Context) (t *target.Target, name string, err error) {
	p.typed = true
	given := 0
	for _, flag := range []string{"pid", "root", "host"} {
		if c.IsSet(flag) {
			given++
		}
	}
	if c.Args().Present() {
		given++
	}
	pid, root := c.Int("pid"), c.String("root")
	switch {
	case given > 1:
		return nil, "", usage.Errorf("a container's name, --pid, --root and --host exclude each other")
	case c.Args().Present():
		t, name, err = target.Named(c.Args().First())
		return t, name, notFound(err)
	case c.IsSet("root") && root == "":
		// A shell variable may be unset. Do not fall back to this process's root.
		return nil, "", usage.Errorf("--root is empty: want a directory")
	case c.IsSet("pid") && pid < 1:
		return nil, "", usage.Errorf("--pid %d: want a process ID", pid)
	case c.IsSet("pid"):
		t, err = target.OfProcess(pid)
		return t, target.NameOfProcess(pid), err
	case root != "":
		t, err = target.AtRoot(root)
		return t, target.NameOfRoot(root), err
	}
	if name, err = os.Hostname(); err != nil {
		return nil, "", err
	}
	if c.Bool("host") {
		t, err = target.Host()
	} else {
		t, err = target.Inside()
	}
	return t, name, err
}

// notFound adds advice to an error about a container's name.
func notFound(err error) error {
	var missing *containers.NotFoundError
	switch {
	case errors.As(err, new(*containers.AmbiguousError)):
		return usage.Error{Err: err}
	case errors.As(err, &missing) && os.Geteuid() != 0:
		return fmt.Errorf("%w; to see containers of other users, %s", err, plan.RunAsRoot)
	}
	return err
}

// removeEmptyLogs removes the container's directory of logs on the host if nothing is in it.
func (p *program) removeEmptyLogs(name string) {
	dir := filepath.Dir(filepath.Dir(launch.MessagesFile(false, name)))
	if err := oldlogs.RemoveEmpty(dir, name); err != nil {
		p.line(err) // the rest succeeded
	}
}

// clearLogs removes old logs on the host, if --keep-logs says so.
func (p *program) clearLogs() {
	if p.keepLogs == 0 {
		return
	}
	dir := filepath.Dir(filepath.Dir(launch.MessagesFile(false, p.name)))
	if err := oldlogs.Clear(dir, p.keepLogs); err != nil {
		p.line(err) // the repair itself succeeded
	}
}
