package hosts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// A run on a real host passes only if every scenario has ended and no check has failed. A host that
// hangs or dies never passes.
func TestHostsJudge(t *testing.T) {
	scenarios, err := filepath.Glob("hosts/guest/[0-9]*.sh")
	host.Check(t, err)
	if len(scenarios) == 0 {
		t.Fatal("no scenarios")
	}
	var whole strings.Builder
	for _, s := range scenarios {
		whole.WriteString("ok   it works\r\nend  " + filepath.Base(s) + "\r\n") // as a serial port writes it
	}
	last := "end  " + filepath.Base(scenarios[len(scenarios)-1]) + "\r\n"
	for _, c := range []struct {
		name, said string
		passes     bool
		want       string
	}{
		{"all", whole.String(), true, "ok\tsuite: it works"},
		{"a failed check", whole.String() + "FAIL it does not\r\n", false, "FAIL\tsuite: it does not"},
		{"no boot", "", false, "did not come to its end"},
		{"no end", strings.Replace(whole.String(), last, "", 1), false, filepath.Base(scenarios[len(scenarios)-1]) + " did not come to its end"},
		{"cut off", strings.TrimSuffix(whole.String(), ".sh\r\n"), false, "did not come to its end"},
		{"noise", "\x00\xffFAIL\r\n" + whole.String(), true, "ok\tsuite: it works"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "checks")
			host.Check(t, os.WriteFile(file, []byte(c.said), 0o600))
			out, err := exec.Command("hosts/judge.sh", "suite", file, "hosts/guest").CombinedOutput()
			if (err == nil) != c.passes || !strings.Contains(string(out), c.want) {
				t.Errorf("%v, want %q:\n%s", err, c.want, out)
			}
		})
	}
}
