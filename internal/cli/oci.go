package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"devlog/internal/devlog"
	"devlog/internal/hook"
)

func (p *program) ociCommand() *cli.Command {
	return command(cli.Command{
		Name:  "oci",
		Usage: "run as an OCI hook: the container's state is on standard input",
		Description: "At prestart, createRuntime and poststart the receiver stays on the host and ends with the container;\n" +
			"at createContainer and startContainer it runs in the container; poststop clears up.",
		Flags: flags([]cli.Flag{
			&cli.StringFlag{Name: "stage", EnvVars: env("STAGE"),
				Usage: "the hook's `STAGE`: prestart, createRuntime, createContainer, startContainer, poststart or poststop"},
			annotationsFlag(),
		}, planFlags(), receiverFlags()),
		Action: p.oci,
	})
}

func (p *program) oci(c *cli.Context) error {
	stage, stageErr := hook.ParseStage(c.String("stage"))
	p.hostSide, p.inside = stage != hook.StartContainer, stage == hook.StartContainer
	container, err := hook.ReadOCI(p.stdin, stage)
	p.name = container.ID // what is wrong is written to its file
	switch {
	case errors.Is(stageErr, hook.ErrUnknownStage):
		// Of a specification to come: no reason for a container not to start.
		p.say(fmt.Errorf("%w; nothing is done", stageErr))
		return nil
	case stageErr != nil:
		return usageError{stageErr}
	case err != nil:
		_ = p.setName(c, container.ID)
		return err
	}
	if stage == hook.CreateContainer {
		if err := ownEnv(os.Environ(), container.Env); err != nil {
			return err
		}
	}
	off, err := p.annotations(c, stage, container)
	if err != nil || off {
		return err
	}
	o, err := p.options(c, container.ID)
	if err != nil {
		return err
	}
	if stage == hook.Poststop {
		p.clear(container.Rootfs, o)
		return nil
	}
	_, err = repairOne(func() (*devlog.Target, error) { return devlog.OfHook(stage, container) }, o)
	return err
}

// clear clears up after a container that has ended. A failure is said and no
// more: it must not keep a runtime from forgetting the container.
func (p *program) clear(root string, o devlog.Options) {
	if root == "" {
		return
	}
	if _, err := devlog.Clear(root, o.Socket); err != nil {
		p.say(fmt.Errorf("clear up in %s: %w", root, err))
	}
}

// ownEnv says why the environment is not the hook's own. Some runtimes hand the
// container's to createContainer hooks without one, which run on the host's
// files with all the runtime's rights.
func ownEnv(environ, containers []string) error {
	for _, e := range environ {
		if strings.HasPrefix(e, "DEVLOG_") && slices.Contains(containers, e) {
			name, _, _ := strings.Cut(e, "=")
			return &devlog.Refusal{Reason: name + " is of the container's environment, not of the hook's",
				Advice: `give the hook an "env" of its own in its configuration`}
		}
	}
	return nil
}
