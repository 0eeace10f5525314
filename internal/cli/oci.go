package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"devlog/internal/annotation"
	"devlog/internal/failure"
	"devlog/internal/hook"
	"devlog/internal/launch"
	"devlog/internal/repair"
	"devlog/internal/settings"
	"devlog/internal/target"
	"devlog/internal/undo"
	"devlog/internal/usage"
)

func (p *program) ociCommand() *cli.Command {
	return usage.Command(cli.Command{
		Name:  "oci",
		Usage: "run as an OCI hook: the container's state is on standard input",
		Description: "At prestart, createRuntime and poststart the receiver stays on the host and ends with the container;\n" +
			"at createContainer and startContainer it runs in the container; poststop removes what is left.",
		Flags: flags([]cli.Flag{
			&cli.StringFlag{Name: "stage", EnvVars: env("STAGE"),
				Usage: "run as the hook of this `STAGE`: prestart, createRuntime, createContainer, startContainer, poststart or poststop"},
			annotationsFlag(), onErrorFlag(), keepLogsFlag(),
		}, planFlags(""), receiverFlags()),
		Action: p.oci,
	})
}

func (p *program) oci(c *cli.Context) error {
	stage, stageErr := hook.ParseStage(c.String("stage"))
	container, err := hook.ReadOCI(p.stdin, stage)
	p.locate(stage, container)
	p.name = container.ID // errors go to the note of this name
	if stage != hook.Poststop {
		p.forget()
	}
	switch {
	case stageErr != nil:
		return usage.Error{Err: stageErr}
	case err != nil:
		_ = p.setName(c, container.ID)
		return err
	}
	if err := checkOnError(c); err != nil {
		return err
	}
	if stage == hook.CreateContainer {
		if err := settings.OwnEnv(os.Environ(), container.Env); err != nil {
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
	o.Receiver.HostName = container.Hostname
	pod := annotation.PodOf(container.Annotations)
	podNames(c, pod, &o.Receiver)
	if stage == hook.Poststop {
		p.clear(container.Rootfs, o)
		return nil
	}
	if _, err = repairOne(func() (*target.Target, error) { return target.OfHook(stage, container) }, o); err == nil && stage.OnHost() {
		p.clearLogs()
	}
	return err
}

// nameCaller finds the container's name after a usage error, so that the error reaches the
// container's note: some runtimes hide what a hook writes. A runtime may have called this
// program without any known command.
func (p *program) nameCaller(args []string) {
	has := func(word string) bool { return strings.Contains(strings.Join(args, " "), word) }
	if name := os.Getenv("LXC_NAME"); p.Hook && name != "" {
		p.name, p.hostSide = name, os.Getenv("LXC_HOOK_TYPE") != hook.LXCStart && !slices.Contains(args, hook.LXCStart)
		return
	}
	if os.Getenv("LXC_HOOK_TYPE") != "" {
		return // the standard input is the container's console
	}
	container, err := hook.PeekOCI(p.stdin)
	if err != nil {
		return
	}
	p.Hook = p.Hook || len(args) < 2 || !slices.Contains(hook.Typed, args[1])
	p.name = container.ID
	stage := hook.Prestart
	for _, inside := range []hook.Stage{hook.CreateContainer, hook.StartContainer} {
		if has(string(inside)) {
			stage = inside
		}
	}
	p.locate(stage, container)
}

// locate sets where the hook runs, and so where errors are reported.
func (p *program) locate(stage hook.Stage, c hook.Container) {
	p.hostSide = stage != hook.StartContainer || target.CheckStage(stage, c) != nil
	switch {
	case stage == hook.CreateContainer:
		p.process = failure.ParentTag()
	case p.hostSide:
		p.process = failure.ProcessTag(c.PID)
	}
}

// clear cleans up after a container that has ended. It only reports errors: they must not keep
// a runtime from removing the container.
func (p *program) clear(root string, o repair.Options) {
	p.removeEmptyLogs(o.Receiver.Name)
	if root == "" {
		return
	}
	if _, err := undo.Clear(root, o.Socket, o.Known...); err != nil {
		p.say(fmt.Errorf("cannot clean up in %s: %w", root, err))
	}
}

// podNames logs a pod's container under the pod's name instead of the container's ID, unless
// --name is given. It also links the log by the pod's names.
func podNames(c *cli.Context, pod annotation.Pod, r *launch.Receiver) {
	r.ByName = pod.String()
	if c.String("name") == "" && hook.CheckName(pod.Name) == nil {
		r.LineHost = pod.Name
	}
}
