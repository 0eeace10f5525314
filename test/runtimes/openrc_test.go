package runtimes

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"devlog/test/host"
)

// The printed services for OpenRC: one prepares the host at start and undoes that at stop. The other
// receives for containers, and is restarted after a kill.
func TestOpenRC(t *testing.T) {
	host.Need(t, "root", "openrc")
	h := host.NewHost(t)
	host.Install(t, h)
	tree := host.Unpacked("openrc")
	for _, dir := range []string{"/usr/lib", "/usr/sbin"} {
		from := filepath.Join(tree, filepath.Base(dir))
		h.Must("mount", "-n", "-t", "overlay", "-o", "lowerdir="+from+":"+dir, "overlay", dir)
	}
	h.Must("mount", "-n", "-t", "tmpfs", "etc", "/etc") // nothing of the machine's own is to be started
	h.Must("sh", "-c", "cd /etc; : >passwd; : >rc.conf; : >insserv.conf; mkdir -p init.d conf.d runlevels/default /run/openrc; echo sysinit >/run/openrc/softlevel")
	// Every OpenRC has this one.
	host.Check(t, os.WriteFile(h.Path("/etc/init.d/localmount"), []byte("#!/sbin/openrc-run\nstart() { :; }\n"), 0o755))
	const service = "/etc/init.d/devlog-host"
	h.Must("sh", "-c", host.InstallDir+"/devlog-hook config openrc --dir /run && cd /run && mv devlog-host.openrc "+service+"")
	receive := host.ListenOn(t, h, "/dev/log")
	before := h.Tree(nil, "/dev")
	h.Must("rc-update", "add", "devlog-host", "default")
	h.Must("openrc", "default")
	if to, err := os.Readlink(h.Path("/dev/log")); err != nil || to != "/run/devlog/log" || len(h.Receivers()) != 1 {
		t.Errorf("/dev/log points to %q, %v; watchers: %d", to, err, len(h.Receivers()))
	}
	h.Must("logger", "--socket-errors=on", "-t", "host", "mine")
	receive()
	h.Must("rc-service", "devlog-host", "status")
	h.Must("rc-service", "devlog-host", "stop")
	host.ExpectReceiversEnd(t, h)
	if after := h.Tree(nil, "/dev"); !slices.Equal(after, before) {
		t.Errorf("/dev was\n%q\nand is\n%q", before, after)
	}
	if r := h.Do("rc-service", "devlog-host", "status"); r.Code == 0 {
		t.Errorf("status after the stop: %+v", r)
	}
	h.Must("sh", "-euc", "PATH="+host.InstallDir+":$PATH\n"+host.Documented(t, "../docs/node.md"))
	pid := nodeRuns(t, h, 0)
	h.Must("kill", "-KILL", strconv.Itoa(pid))
	nodeRuns(t, h, pid)
	h.Must("rc-service", "devlogd", "stop")
	host.ExpectReceiversEnd(t, h)
}
