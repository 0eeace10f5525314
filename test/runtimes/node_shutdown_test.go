package runtimes

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// lastWords is a container's first process. On SIGTERM it logs for two more seconds, and writes each
// line to a file of the host, as proof.
const lastWords = `mount --make-rprivate / && mount -t tmpfs tmpfs /run
trap 'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do logger -t box "last $i." && echo "last $i." >>/var/proof; sleep 0.1; done; exit 0' TERM
echo $$ >/var/first.new && mv /var/first.new /var/first
while :; do sleep 0.1; done
`

// At the host's shutdown, containers can log until their end: the service that receives for them ends
// last.
func TestNodeShutdown(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string // of systemd-run, for the container
	}{
		{name: "service"},
		{name: "slice", args: []string{"--slice=machine.slice"}},
		// As a scope, which systemd does not wait for in a container on cgroup v1: it is
		// not after sysinit.target.
		{name: "scope", args: []string{"--slice=machine.slice", "--property=DefaultDependencies=no", "--property=Conflicts=shutdown.target", "--property=Before=shutdown.target"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := host.NewSystemdHost(t)
			s.Must("/bin/systemctl", "stop", "box")
			host.Check(t, os.WriteFile(filepath.Join(s.Rootfs, "etc/last"), []byte(lastWords), 0o644))
			run := append([]string{"/usr/bin/systemd-run", "--quiet", "--collect", "--unit=last", "--property=KillMode=mixed"}, tt.args...)
			run = append(run, "/bin/busybox", "unshare", "-m", "/bin/busybox", "sh", "/etc/last")
			s.Must(run...)
			host.Eventually(t, "the container is up", func() bool {
				pid, err := os.ReadFile(filepath.Join(s.Rootfs, "var/first"))
				s.Pid = strings.TrimSpace(string(pid))
				return err == nil
			})
			startService(t, s, enableService)
			host.Check(t, host.Send(s.Connect(), "<14>test: first"))
			host.WantOnce(t, s.Messages(), "first")
			s.Must("/bin/systemctl", "poweroff")
			s.WaitStopped()
			var want []string
			for i := range 20 {
				want = append(want, fmt.Sprintf("last %d.", i+1))
			}
			proof, err := os.ReadFile(filepath.Join(s.Rootfs, "var/proof"))
			host.Check(t, err)
			if got := strings.Fields(strings.ReplaceAll(string(proof), " ", "_")); len(got) != len(want) {
				t.Errorf("the container was killed: it has logged %q", got)
			}
			host.WantOnce(t, s.Messages(), want...)
		})
	}
}
