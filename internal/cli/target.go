package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"devlog/internal/devlog"
)

// targetAndOptions reads the flags of check and repair.
func (p *program) targetAndOptions(c *cli.Context) (*devlog.Target, devlog.Options, error) {
	t, name, err := p.target(c)
	if err != nil {
		return nil, devlog.Options{}, err
	}
	o, err := p.options(c, name)
	if err == nil && c.Bool("host") && o.Socket != devlog.DefaultSocket {
		err = usageError{errors.New("--socket and --host exclude each other")}
	}
	if err != nil {
		t.Close()
		return nil, devlog.Options{}, err
	}
	if c.String("root") != "" && o.NoReceiver {
		o.NoHeal = true // a keeper would not know when the container ends
	}
	return t, o, nil
}

// onTarget is the action of a command that has its target and its options by
// flags.
func (p *program) onTarget(run func(*cli.Context, *devlog.Target, devlog.Options) error) cli.ActionFunc {
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
func repairOne(open func() (*devlog.Target, error), o devlog.Options) (devlog.Result, error) {
	t, err := open()
	if err != nil {
		return devlog.Result{}, err
	}
	defer t.Close()
	return devlog.Repair(t, o)
}

// target reads the flags that name the container, and returns the name that
// it goes by if nothing else is said.
func (p *program) target(c *cli.Context) (t *devlog.Target, name string, err error) {
	p.typed = true
	given := 0
	for _, flag := range []string{"pid", "root", "host"} {
		if c.IsSet(flag) {
			given++
		}
	}
	pid, root := c.Int("pid"), c.String("root")
	switch {
	case given > 1:
		return nil, "", usageError{errors.New("--pid, --root and --host exclude each other")}
	case c.IsSet("root") && root == "":
		// As of a variable that is not set: never this process's own root.
		return nil, "", usageError{errors.New("--root: it is empty: want a directory")}
	case c.IsSet("pid") && pid < 1:
		return nil, "", usageError{fmt.Errorf("--pid %d: want a process ID", pid)}
	case c.IsSet("pid"):
		t, err = devlog.OfProcess(pid)
		return t, devlog.NameOfProcess(pid), err
	case root != "":
		t, err = devlog.AtRoot(root)
		return t, nameOfRoot(root), err
	}
	if name, err = os.Hostname(); err != nil {
		return nil, "", err
	}
	if c.Bool("host") {
		t, err = devlog.Host()
	} else {
		t, err = devlog.Inside()
	}
	return t, name, err
}

// nameOfRoot is a container's name, made of its root directory's path: most
// keep it in a directory of that name.
func nameOfRoot(root string) string {
	abs, err := filepath.Abs(root)
	if err != nil {
		abs = root
	}
	if base := filepath.Base(abs); base != "rootfs" && base != "/" {
		return base
	}
	return filepath.Base(filepath.Dir(abs))
}
