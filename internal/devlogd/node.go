package devlogd

import (
	"devlog/internal/handover"
	"devlog/internal/node"
	"devlog/internal/reader"
	"devlog/internal/receiver"
)

// parseReceiver reads the command line of a container's receiver, which may be of another
// version.
func parseReceiver(args []string) (receiver.Config, error) {
	o, err := parseOptions(args, nil, true)
	if err != nil {
		return receiver.Config{}, err
	}
	c := o.receiver
	c.Rules, c.Hosts = o.readRules, hostNames(c.Name, o.hosts)
	return c, nil
}

// runNode is the process of a host's node that hooks call.
func runNode(o *options, files []handover.File) error {
	return node.Run(node.Options{Version: Version, Mode: o.confine.Mode, User: o.confine.User, Parse: parseReceiver, Calm: calm}, files)
}

// runReader is the process of a node that reads messages.
func runReader(o *options, files []handover.File, started func() error, exit func(error)) error {
	return reader.Run(reader.Options{Version: Version, Confine: o.confine, Parse: parseReceiver, Calm: calm, Started: started, Exit: exit}, files)
}
