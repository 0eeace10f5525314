package launch

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"devlog/internal/daemon"
	"devlog/internal/handover"
	"devlog/internal/nodecall"
	"devlog/internal/plan"
	"devlog/internal/syslogconf"
	"devlog/internal/target"
)

// A host's node (devlogd --node) receives for its containers. Without a node, or for a container
// whose options or rules it does not support, the hook starts a receiver of the container's own.

// AutoReceiver as a receiver's path means the host's node if it runs, and otherwise a process of
// the container's own. NodeReceiver means the node, or an error.
const (
	AutoReceiver = "auto"
	NodeReceiver = "node"
)

// nodeUse is whether a receiver is, may be or must be the node's.
type nodeUse struct{ may, must, is bool }

// AtNode returns whether the receiver that was started is the node's.
func (r *Receiver) AtNode() bool { return r.node.is }

// chooseNode decides by the target and the options whether the node may receive. Whether it may follow
// the rules, the node's reader decides (package reader).
func (r *Receiver) chooseNode(t *target.Target) {
	r.node.must = r.Path == NodeReceiver
	r.node.may = (r.node.must || r.Path == "" || r.Path == AutoReceiver) && r.Sandbox == "" && r.User == ""
	if t.Host || t.ReceiverInside() || os.Geteuid() != 0 {
		r.node.may = false
	}
	if r.Path == AutoReceiver || r.Path == NodeReceiver {
		r.Path = ""
	}
}

// mustNode returns a refusal if only the node may receive, but cannot.
func (r *Receiver) mustNode() *plan.Refusal {
	if r.node.must && r.Sandbox+r.User != "" {
		return &plan.Refusal{Reason: "--sandbox and --user are for a receiver of the container's own, not for devlogd.service",
			Advice: "leave them out, or --receiver node"}
	}
	if r.node.must && (!r.node.may || r.logs != syslogconf.LogsDir) {
		return &plan.Refusal{Reason: "devlogd.service takes containers only from hooks that run on the host as root, and only writes to " + syslogconf.LogsDir,
			Advice: "leave out --receiver node"}
	}
	return nil
}

// startAtNode has the node receive. It returns the node's process ID. end ends the receiver.
func (r *Receiver) startAtNode(spec daemon.Spec, again []byte) (pid int, end func(), err error) {
	a, err := nodecall.Call(nodecall.Request{Operation: nodecall.Add, Args: spec.Args, Repair: again}, spec.Files...)
	if err != nil {
		return 0, nil, err
	}
	r.node.is = true
	return a.PID, func() {
		for _, f := range spec.Files {
			if strings.HasPrefix(f.Name, handover.NameUnlink) {
				// The caller reports another error.
				_, _ = nodecall.Call(nodecall.Request{Operation: nodecall.End}, handover.Passed{File: f.File, Name: nodecall.NameDirectory})
				return
			}
		}
	}, nil
}

// sayOwn tells the user why a receiver of the container's own is started although there is a
// node.
func (r *Receiver) sayOwn(err error) {
	if r.Warn != nil && !errors.Is(err, nodecall.ErrNone) {
		r.Warn(fmt.Sprintf("devlogd.service does not receive for this container, which gets a receiver of its own: %v", err))
	}
}
