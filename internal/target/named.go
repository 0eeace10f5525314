package target

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"devlog/internal/containers"
	"devlog/internal/hook"
)

// maxFinds is how often Named looks for a container: its process may end between the
// look-up and the opening.
const maxFinds = 3

// Named opens the running container with that name or ID. It also returns the container's
// name in messages and paths: what its runtime calls it, as in a hook's call. The error
// wraps a *containers.AmbiguousError if several containers match.
func Named(called string) (t *Target, name string, err error) {
	host := containers.This()
	for range maxFinds {
		var c containers.Container
		if c, err = host.Find(called); err != nil {
			return nil, "", err
		}
		t, err = OfProcess(c.PID)
		if err == nil && !host.Runs(c) { // another process has that ID now
			t.Close()
			err = unix.ESRCH
		}
		if err == nil {
			if name = c.ID; hook.CheckName(name) != nil {
				name = NameOfProcess(c.PID)
			}
			return t, name, nil
		}
		if !errors.Is(err, unix.ESRCH) {
			return nil, "", err
		}
	}
	return nil, "", fmt.Errorf("cannot find container %q: %w", called, err)
}
