package runtimes

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"devlog/test/host"
)

// killedSaid is what a receiver says that was killed before.
const killedSaid = "killed; restarted by systemd"

// However often a supervised receiver is killed, no message is lost. It watches /dev/log and
// removes what it made, like one that was never killed.
func TestSupervisedKilled(t *testing.T) {
	s := host.NewSystemdHost(t)
	s.Repair()
	pid := s.Receiver(0)
	if r := s.Hook("check", "--pid", s.Pid); r.Code != 0 || !strings.Contains(r.Out, "restarted by systemd if killed (devlog-box.service)") {
		t.Errorf("check: %+v", r)
	}
	stop := s.Flood("flood", 4)
	const kills = 30
	for i := range kills {
		s.H.Must("kill", "-9", strconv.Itoa(pid))
		pid = s.Receiver(pid)
		busy(t, s.Messages())
		host.Eventually(t, "it says that it was killed", func() bool { // one that is killed before cannot
			text, err := os.ReadFile(s.Messages())
			return err == nil && strings.Count(string(text), killedSaid) > i
		})
	}
	sent := stop()
	host.ExpectAll(t, s.Messages(), "flood", sent, kills)
	text, err := os.ReadFile(s.Messages())
	host.Check(t, err)
	if n := strings.Count(string(text), killedSaid); n != kills {
		t.Errorf("it says %d times that it was killed", n)
	}
	if strings.Contains(string(text), " messages lost ") {
		t.Error("it says that messages were lost")
	}
	if r := s.Hook("check", "--pid", s.Pid); r.Code != 0 || !strings.Contains(r.Out, "devlog-box.service") {
		t.Errorf("check: %+v", r)
	}
	s.Hook("repair", "--pid", s.Pid) // does nothing
	if again := s.Receiver(0); again != pid {
		t.Errorf("a second repair has started another receiver")
	}
	s.Must("/bin/systemctl", "stop", "box")
	s.Gone()
	host.EndSystemd(t, s.LXC)
}

// busy waits until the file grows.
func busy(t *testing.T, file string) {
	t.Helper()
	before, err := os.Stat(file)
	host.Check(t, err)
	host.Eventually(t, "messages are written", func() bool {
		now, err := os.Stat(file)
		return err == nil && now.Size() > before.Size()
	})
}
