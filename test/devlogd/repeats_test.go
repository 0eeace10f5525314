package devlogd

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newRepeats returns a tap that leaves repeats out.
// Repeats are summed up after a time that grows, and there is no waking up
// without them.
func TestCompressRepeats(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "*.* -"+log, "--rule", "mail.* -"+log+"2", "--rule", "mail.* -"+log+".json;JSON", "--rule", "mail.* -"+log+".5424;RFC5424", "--compress-repeats")
	fd := dial(t, sock)
	for range 5 {
		send(t, fd, "<13>Jan  1 00:00:00 app[1]: same", "<22>mail: same")
	}
	for range 5 {
		send(t, fd, "<13>Jan  1 00:00:00 app[1]: same")
	}
	send(t, fd, "<13>end")
	await(t, log, "end")
	d.signal(unix.SIGUSR2) // all repeats are summed up before
	awaitTimes(t, log, upgraded, 1)
	d.signal(unix.SIGUSR1)
	await(t, log, ", repeated ")
	send(t, fd, "<13>end", "<13>end", "<22>mail: same")
	d.stop()
	// Each file has its own.
	want := "box mail: same\nbox last message repeated 4 times\nbox mail: same\n"
	if got := content(t, log+"2"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for suffix, want := range map[string]string{".json": `"msg":"last message repeated 4 times"`, ".5424": " last message repeated 4 times"} {
		if got := content(t, log+suffix); strings.Count(got, "\n") != 3 || !strings.Contains(got, want) {
			t.Errorf("%s: %q", suffix, got)
		}
	}
	var lines []string
	for line := range strings.Lines(content(t, log)) {
		if !strings.Contains(line, "devlogd[") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	all := append(slices.Repeat([]string{"box app[1]: same", "box mail: same"}, 5), "box app[1]: same", "box last message repeated 4 times",
		"box end", "box end", "box last message repeated 1 times", "box mail: same")
	if !slices.Equal(lines, all) {
		t.Errorf("got %q, want %q", lines, all)
	}
	if text := content(t, log); !strings.Contains(text, fmt.Sprintf("%s: written %d, pending 0, repeated 4;", log, 14)) {
		t.Errorf("account in %q", text)
	}
}
