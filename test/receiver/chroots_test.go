package receiver

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"devlog/test/host"
)

// Daemons that have entered a chroot reach the receiver at the socket there.
func TestChroots(t *testing.T) {
	host.NeedContainers(t, "runc", "python3")
	h := host.NewHost(t)
	c := programsContainer(t, h, "chroots.sh")
	c.Hook("createRuntime", "--listen", "/var/lib/haproxy/dev/log", "--listen", "/srv/sftp/dev/log")
	runPrograms(t, h, c)
	host.ExpectReceiversEnd(t, h)
	text, err := os.ReadFile(c.Log())
	host.Check(t, err)
	for _, want := range []string{
		`c1 haproxy\[[0-9]+\]: unix:1 \[.*\] fe fe/<NOSRV> .* "GET /x HTTP/1.0"`,
		`c1 internal-sftp\[[0-9]+\]: open "/file" flags READ mode 0666`,
		`c1 internal-sftp\[[0-9]+\]: close "/file" bytes read 5 written 0`,
	} {
		if n := len(regexp.MustCompile("(?m)"+want+"$").FindAll(text, -1)); n != 1 {
			t.Errorf("%d lines are %s\n%s", n, want, text)
		}
	}
}

// named and Postfix connect before they enter their chroots. When the receiver was replaced, they
// reach the next one at the sockets there.
func TestChrootsReplaced(t *testing.T) {
	host.NeedContainers(t, "runc", "python3")
	h := host.NewHost(t)
	c := programsContainer(t, h, "chroots-replaced.sh")
	named := host.Unpacked("chroots")
	if !host.Exists(named) {
		t.Skipf("this test needs %s; run test/deps.sh", named)
	}
	h.Must("cp", "-a", filepath.Join(named, "usr"), programsBox+"/upper")
	listen := []string{"--listen", "/var/lib/named/dev/log", "--listen", "/var/spool/postfix/dev/log"}
	c.Hook("createRuntime", listen...)
	c.Write()
	c.Create()
	c.Start()
	_, pid := c.State()
	proc := fmt.Sprint("/proc/", pid, "/root/tmp/")
	await := func(file string) {
		t.Helper()
		if !host.WaitFor(func() bool { return h.Do("test", "-e", proc+file).Code == 0 }) {
			log, _ := os.ReadFile(h.Path(programsBox + "/upper/opt/log"))
			text, _ := os.ReadFile(c.Log())
			t.Fatalf("no %s\n%s\n%s", file, log, text)
		}
	}
	expect := func(wants ...string) {
		t.Helper()
		for _, want := range wants {
			var text []byte
			if !host.WaitFor(func() bool {
				text, _ = os.ReadFile(c.Log())
				return regexp.MustCompile("(?m)" + want + "$").Match(text)
			}) {
				t.Errorf("no line is %s\n%s", want, text)
			}
		}
	}
	const smtpd = `c1 postfix/smtpd\[[0-9]+\]: connect from .*`
	await("ready")
	expect(`c1 named\[[0-9]+\]: running`, smtpd)
	h.Must("kill", "-KILL", fmt.Sprint(h.Receivers()[0]))
	// A process that has ended may have its sockets for a moment.
	host.Eventually(t, "nobody listens", func() bool { return h.Do(host.HookOn(), "check", "--pid", fmt.Sprint(pid)).Code == 1 })
	host.Check(t, os.Remove(c.Log()))
	h.Must(append([]string{host.HookOn(), "repair", "--pid", fmt.Sprint(pid), "--name", "c1"}, listen...)...)
	h.Must("touch", proc+"replaced")
	await("done")
	expect(`c1 named\[[0-9]+\]: reloading configuration succeeded`, smtpd)
	h.Must(c.Args("delete", "--force")...)
	host.ExpectReceiversEnd(t, h)
}
