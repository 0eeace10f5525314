package runtimes

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// lastWords is a container's first process that logs for two seconds when it is
// told to end, each line as proof in a file of the host's as well.
const lastWords = `mount --make-rprivate / && mount -t tmpfs tmpfs /run
trap 'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do logger -t box "last $i." && echo "last $i." >>/var/proof; sleep 0.1; done; exit 0' TERM
echo $$ >/var/first.new && mv /var/first.new /var/first
while :; do sleep 0.1; done
`

// When the host is shut down its containers log to the end: their receivers go
// last.
func TestSupervisedShutdown(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string // of systemd-run, for the container
		own  bool     // the receivers are in a slice of their own
	}{
		{name: "service"},
		{name: "slice", args: []string{"--slice=machine.slice"}},
		// As a scope, which systemd does not wait for in a container on cgroup v1: it is
		// not after sysinit.target.
		{name: "scope", args: []string{"--slice=machine.slice", "--property=DefaultDependencies=no", "--property=Conflicts=shutdown.target", "--property=Before=shutdown.target"}},
		{name: "own slice", own: true},
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
			supervised(s, tt.own)
			host.Check(t, host.Send(s.Connect(), "<14>test: first"))
			host.WantOnce(t, s.Messages(), "first")
			s.Must("/bin/systemctl", "poweroff")
			s.WaitStopped()
			host.ExpectReceiversEnd(t, s.H)
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

// supervised repairs the container with a supervised receiver, in a slice of its
// own if that is asked for.
func supervised(s *host.SystemdHost, own bool) {
	s.T.Helper()
	group := "/system.slice/devlog-box.service"
	if own {
		group = "/devlog.slice/devlog-box.service"
		ownSlice(s)
	}
	s.Repair()
	if got := s.Must("/bin/systemctl", "show", "--property=ControlGroup", "--value", "devlog-box.service").Out; !strings.HasSuffix(got, group+"\n") {
		s.T.Errorf("the receiver is in %q, want %s", got, group)
	}
	if r := s.Hook("check", "--pid", s.Pid); r.Code != 0 || !strings.Contains(r.Out, "(devlog-box.service)") {
		s.T.Errorf("check: %+v", r)
	}
}

// ownSlice has the receivers in a slice of their own, as docs/supervision.md says.
func ownSlice(s *host.SystemdHost) {
	s.T.Helper()
	units := filepath.Join(s.Rootfs, "etc/systemd/system")
	for _, b := range host.Blocks(s.T, "../docs/supervision.md") {
		name, text, _ := strings.Cut(b.Text, "\n")
		name, ok := strings.CutPrefix(name, "# /etc/systemd/system/")
		if b.Marker != "run: "+s.T.Name()[:len("TestSupervisedShutdown")] || !ok {
			continue
		}
		host.Check(s.T, os.MkdirAll(filepath.Dir(filepath.Join(units, name)), 0o755))
		host.Check(s.T, os.WriteFile(filepath.Join(units, name), []byte(text), 0o644))
	}
	s.Must("/bin/systemctl", "daemon-reload")
}
