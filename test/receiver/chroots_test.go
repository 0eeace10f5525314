package receiver

import (
	"os"
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
