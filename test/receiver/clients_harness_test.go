package receiver

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"devlog/test/host"
)

// startReceiver runs devlogd on a fake host, until the test ends, and waits
// until it listens at /dev/log.
func startReceiver(t *testing.T, h *host.Host, args ...string) {
	t.Helper()
	cmd := h.Command(context.Background(), append([]string{filepath.Join(host.BinDir, "devlogd")}, args...)...)
	var errOut strings.Builder
	cmd.Stderr = &errOut
	host.Check(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // the state has the result
	}()
	t.Cleanup(func() {
		for _, pid := range h.Receivers() {
			host.Check(t, h.Command(context.Background(), "kill", strconv.Itoa(pid)).Run())
		}
		select {
		case <-ended:
		case <-time.After(host.Deadline):
			t.Error("devlogd does not end")
		}
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("devlogd: exit code %d: %s", code, &errOut)
		}
	})
	host.Eventually(t, "devlogd listens: "+errOut.String(), func() bool {
		info, err := os.Lstat(h.Path("/dev/log"))
		return err == nil && info.Mode()&os.ModeSocket != 0
	})
}

// size returns a file's size; 0 if the file does not exist.
func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if os.IsNotExist(err) {
		return 0
	}
	host.Check(t, err)
	return info.Size()
}

// from returns a file's content from an offset on.
func from(t *testing.T, path string, offset int64) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	host.Check(t, err)
	return data[offset:]
}

// levelsOf reads the messages' facilities and severities from a file of objects,
// all of which are root's unless their sender claims anything.
func levelsOf(t *testing.T, path string, offset int64, claims bool) (list []string) {
	t.Helper()
	for line := range strings.Lines(string(from(t, path, offset))) {
		var m struct {
			Facility, Severity, Msg string
			Sender                  *struct{ PID, UID, GID int }
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if m.Sender == nil || !claims && (m.Sender.PID <= 0 || m.Sender.UID != 0) {
			t.Errorf("sender of %.200q: %+v", line, m.Sender)
		}
		list = append(list, m.Facility+"."+m.Severity)
	}
	return list
}

var (
	anyPID   = regexp.MustCompile(`\[[0-9]+\]`)
	anyLevel = regexp.MustCompile(`<([a-z0-9]+\.[a-z]+)> `)
)

// likeLine compares a line with the wanted one, in which "<mail.err> " is the level and "[PID]" any
// number. If the wanted one ends in an open quote, the line may continue.
func likeLine(got, level, want string) bool {
	if m := anyLevel.FindStringSubmatch(want); m != nil {
		want = strings.Replace(want, m[0], "", 1)
		if level != m[1] {
			return false
		}
	}
	if strings.Contains(want, "[PID]") {
		got = anyPID.ReplaceAllString(got, "[PID]")
	}
	return got == want || strings.HasSuffix(want, `="`) && strings.HasPrefix(got, want)
}
