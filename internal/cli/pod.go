package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"devlog/internal/annotation"
	"devlog/internal/hook"
	"devlog/internal/launch"
)

// byNameDir is the directory beside those of containers' logs that has a link to
// each, called as people call the container.
const byNameDir = "by-name"

// podNames has lines of a pod's container say the pod's name as their host, in
// place of the container's ID, unless --name says what else to write.
func podNames(c *cli.Context, pod annotation.Pod, r *launch.Receiver) {
	if c.String("name") == "" && hook.CheckName(pod.Name) == nil {
		r.LineHost = pod.Name
	}
}

// linkByName makes a link with the name to the container's directory of logs, in
// place of an earlier container's of that name. Nothing is done without such a
// directory, as where rules send all elsewhere.
func linkByName(dir, name string) (err error) {
	if hook.CheckName(name) != nil {
		return nil
	}
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		return nil //nolint:nilerr // nothing is there to be found
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("link the log by name: %w", err)
		}
	}()
	links := filepath.Join(filepath.Dir(dir), byNameDir)
	if err := os.Mkdir(links, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	temporary := filepath.Join(links, ".devlog-"+filepath.Base(dir))
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(filepath.Join("..", filepath.Base(dir)), temporary); err != nil {
		return err
	}
	if err := os.Rename(temporary, filepath.Join(links, name)); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return nil
}
