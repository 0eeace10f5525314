package engine

import (
	"os"
	"path/filepath"
	"testing"

	"devlog/test/host"
)

// daemonsIn are the lines of configuration that an LXC container needs to run daemons.
func daemonsIn() []string {
	return []string{
		"lxc.mount.entry = " + host.DaemonsDir() + " opt/daemons none ro,bind,create=dir 0 0",
		"lxc.mount.entry = /lib lib none ro,bind 0 0", // more libraries of the daemons
		"lxc.mount.entry = /usr/bin/env usr/bin/env none ro,bind,create=file 0 0",
	}
}

// NewDaemonIn makes a daemon of a running container, which has daemonsIn.
func NewDaemonIn(t *testing.T, c *host.LXC, k host.DaemonKind, socket string) *host.Daemon {
	t.Helper()
	dir := "/etc/" + c.Name // so that the configuration's name is unique
	host.Check(t, os.Mkdir(filepath.Join(c.Rootfs, dir), 0o755))
	host.Check(t, os.WriteFile(filepath.Join(c.Rootfs, dir, "conf"), []byte(k.Config(socket, dir)), 0o644))
	args := c.Args("lxc-attach", append([]string{"--clear-env", "--"}, k.Command("/opt/daemons", dir)...)...)
	return host.DaemonWith(t, c.H, args, dir+"/conf", socket, filepath.Join(c.Rootfs, dir, "log"))
}
