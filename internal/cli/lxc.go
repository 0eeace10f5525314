package cli

import (
	"github.com/urfave/cli/v2"

	"devlog/internal/hook"
	"devlog/internal/target"
	"devlog/internal/usage"
)

// lxcCommand is what LXC calls. It takes no arguments: all flags come from the environment
// (lxc.environment, or the hook's shell line on the host). Standard input is the container's
// console, so it is never read.
func (p *program) lxcCommand(call hook.LXC) *cli.Command {
	return usage.Command(cli.Command{
		Name:   "lxc",
		Hidden: true,
		Flags:  flags([]cli.Flag{onErrorFlag(), keepLogsFlag()}, planFlags(""), receiverFlags()),
		Action: func(c *cli.Context) error {
			if call.Type != hook.LXCPostStop {
				p.forget()
			}
			if err := call.Check(); err != nil {
				return usage.Error{Err: err}
			}
			if err := checkOnError(c); err != nil {
				return err
			}
			o, err := p.options(c, call.Name)
			if err != nil {
				return err
			}
			o.Receiver.ByName = call.Name
			open := target.Inside
			switch call.Type {
			case hook.LXCPostStop:
				p.clear(call.Rootfs, o)
				return nil
			case hook.LXCStartHost:
				open = func() (*target.Target, error) { return target.OfProcess(call.PID) }
			default:
				o.Receiver.InitStarting = true
			}
			if _, err = repairOne(open, o); err == nil && call.OnHost() {
				p.clearLogs()
			}
			return err
		},
	})
}
