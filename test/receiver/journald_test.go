package receiver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// activator plays systemd for journald: it has the socket, starts journald with it, and restarts it.
// It ends with its standard input.
const activator = `use Socket; $^F = 10;
socket(my $s, AF_UNIX, SOCK_DGRAM, 0) || die $!;
bind($s, pack_sockaddr_un("/run/systemd/journal/socket")) || die $!;
fileno($s) == 3 || die; chmod 0666, "/run/systemd/journal/socket";
$ENV{LISTEN_FDS} = 1;
my $owner = $$;
unless (fork) { sysread(STDIN, my $end, 1); open(my $f, "<", "/run/journald.pid"); kill "KILL", $owner, <$f>; exit }
while (1) {
  my $pid = fork;
  unless ($pid) { $ENV{LISTEN_PID} = $$; open(my $f, ">", "/run/journald.pid"); print $f $$; close $f; exec @ARGV }
  waitpid $pid, 0;
}`

// startJournald runs a real journald on the host, and returns functions that restart and end it.
func startJournald(t *testing.T, h *host.Host) (restart, end func()) {
	t.Helper()
	h.Must("mkdir", "-p", "/run/systemd/journal", "/run/systemd/journald.conf.d", "/run/log")
	host.Check(t, os.WriteFile(h.Path("/run/systemd/journald.conf.d/test.conf"), []byte("[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nRuntimeMaxUse=1G\nRuntimeMaxFileSize=512M\nRuntimeKeepFree=1M\nForwardToSyslog=no\nReadKMsg=no\nAudit=no\n"), 0o600))
	stop := host.Background(t, h, "sh", "-c", `perl -e "$0" "$@"; true`, activator, "env", "LD_LIBRARY_PATH="+systemdLibraries(), host.Unpacked("systemd/lib/systemd/systemd-journald"))
	running := func() string {
		pid, _ := os.ReadFile(h.Path("/run/journald.pid")) // it may not have started yet
		text, _ := os.ReadFile(h.Path("/proc/" + string(pid) + "/comm"))
		if strings.HasPrefix(string(text), "systemd-journal") {
			return string(pid)
		}
		return ""
	}
	host.Eventually(t, "journald runs", func() bool { return running() != "" })
	return func() {
		before := running()
		h.Must("kill", "-TERM", before)
		host.Eventually(t, "journald runs again", func() bool { now := running(); return now != "" && now != before })
	}, func() { stop() }
}

func systemdLibraries() string {
	var list []string
	for _, dir := range []string{"lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib/systemd", "usr/lib/x86_64-linux-gnu/systemd"} {
		list = append(list, host.Unpacked("systemd/"+dir))
	}
	return strings.Join(list, ":")
}

// 100,000 messages at full speed are all in the journal, each once, although the real journald is
// slower than the sender, and is restarted meanwhile.
func TestJournaldRestarts(t *testing.T) {
	host.NeedContainers(t)
	host.Need(t, "systemd")
	const messages, socket = 100_000, "/run/test/log"
	h := host.NewHost(t)
	restart, end := startJournald(t, h)
	r := host.RunCommand(t, h.Path(socket), h.Command(context.Background(), filepath.Join(host.BinDir, "devlogd"),
		"--listen", socket, "--name", "web", "--rule", "*.* journal"))
	fd := r.Connect()
	sent := make(chan error)
	half := make(chan bool)
	go func() {
		for i := range messages {
			if i == messages/2 {
				close(half)
			}
			if err := host.Send(fd, fmt.Sprintf("<13>flood: number %d", i)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	<-half
	restart()
	host.Check(t, <-sent)
	restart()
	var lines []string
	host.Eventually(t, "all messages are in the journal", func() bool {
		out := h.Must("env", "LD_LIBRARY_PATH="+systemdLibraries(), host.Unpacked("systemd/bin/journalctl"), "-D", "/run/log/journal", "-q", "-o", "cat", "CONTAINER_NAME=web", "SYSLOG_IDENTIFIER=flood").Out
		lines = strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		return len(lines) >= messages
	})
	for i, line := range lines {
		if line != fmt.Sprintf("number %d", i) {
			t.Fatalf("message %d of %d is %q", i, len(lines), line)
		}
	}
	h.Must("kill", "-INT", fmt.Sprint(h.Receivers()[0]))
	r.Wait()
	end()
}
