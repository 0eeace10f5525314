package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"devlog/internal/names"
	"devlog/internal/repair"
	"devlog/internal/target"
)

// targetAndOptions reads the flags of check and repair.
func (p *program) targetAndOptions(c *cli.Context) (*target.Target, repair.Options, error) {
	t, name, err := p.target(c)
	if err != nil {
		return nil, repair.Options{}, err
	}
	o, err := p.options(c, name)
	if err == nil && c.Bool("host") && o.Socket != names.DefaultSocket {
		err = usageError{errors.New("--socket and --host exclude each other")}
	}
	if err != nil {
		t.Close()
		return nil, repair.Options{}, err
	}
	if c.String("root") != "" && o.NoReceiver {
		o.NoHeal = true // a keeper would not know when the container ends
	}
	return t, o, nil
}

// onTarget is the action of a command that has its target and its options by
// flags.
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

// target reads the flags that name the container, and returns the name that
// it goes by if nothing else is said.
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
		return nil, "", usageError{errors.New("a container's name, --pid, --root and --host exclude each other")}
	case c.Args().Present():
		return namedTarget(c.Args().First())
	case c.IsSet("root") && root == "":
		// As of a variable that is not set: never this process's own root.
		return nil, "", usageError{errors.New("--root: it is empty: want a directory")}
	case c.IsSet("pid") && pid < 1:
		return nil, "", usageError{fmt.Errorf("--pid %d: want a process ID", pid)}
	case c.IsSet("pid"):
		t, err = target.OfProcess(pid)
		return t, target.NameOfProcess(pid), err
	case root != "":
		t, err = target.AtRoot(root)
		return t, nameOfRoot(root), err
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
