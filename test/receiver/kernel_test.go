package receiver

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// The kernel's log is read from its present end, and the receiver does not read back its own records.
func TestReceiverReadsKernelLog(t *testing.T) {
	host.Need(t, "root")
	dir := t.TempDir()
	socket, file := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	// Written before it starts, so it must not be read.
	mark := fmt.Sprintf("devlog-test %d", os.Getpid())
	writeKernel(t, "<12>early: "+mark+" early")
	r := host.RunReceiver(t, socket, "--listen", socket, "--name", "box", "--kernel", "--rule", "*.* -"+file, "--rule", "*.=crit /dev/kmsg")
	fd := r.Connect()
	host.Check(t, host.Send(fd, "<10>loop: "+mark+" from a client"))
	writeKernel(t, "<12>late[7]: "+mark+" late\t\\ end")
	host.Eventually(t, "the record is read", func() bool {
		data, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(data), mark+" late")
	})
	r.Signal(15)
	if code, errOut := r.Wait(); code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	data, err := os.ReadFile(file)
	host.Check(t, err)
	var got []string
	for line := range strings.Lines(string(data)) {
		if _, text, ok := strings.Cut(line, " box "); ok && strings.Contains(text, mark) {
			got = append(got, strings.ReplaceAll(text, mark, "MARK"))
		}
	}
	slices.Sort(got) // of two sources, either may be read first
	want := "late[7]: MARK late#011\\ end\nloop: MARK from a client\n"
	if text := strings.Join(got, ""); text != want {
		t.Errorf("got %q, want %q", text, want)
	}
}

// writeKernel writes one record to the kernel's log, through a new descriptor: the kernel's rate limit
// is for each.
func writeKernel(t *testing.T, text string) {
	t.Helper()
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	host.Check(t, err)
	_, err = f.WriteString(text + "\n")
	host.Check(t, err)
	host.Check(t, f.Close())
}
