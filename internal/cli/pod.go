package cli

import (
	"github.com/urfave/cli/v2"

	"devlog/internal/annotation"
	"devlog/internal/hook"
	"devlog/internal/launch"
)

// podNames has lines of a pod's container say the pod's name as their host, in
// place of the container's ID, unless --name says what else to write, and its log
// found by the pod's names.
func podNames(c *cli.Context, pod annotation.Pod, r *launch.Receiver) {
	r.ByName = pod.String()
	if c.String("name") == "" && hook.CheckName(pod.Name) == nil {
		r.LineHost = pod.Name
	}
}
