package sink

import (
	"fmt"
	"testing"

	"devlog/internal/output"
)

func testNotice(dst []byte, text string) []byte { return fmt.Appendf(dst, "NOTICE %s\n", text) }

func message(text string) output.Message {
	return output.Message{Line: []byte(text + "\n"), Body: []byte(text)}
}

func wantCounts(t *testing.T, o output.Output, want string) {
	t.Helper()
	c := o.Counts()
	got := fmt.Sprint(c.Written, " ", c.Pending)
	for _, l := range c.Lost {
		got += fmt.Sprintf(" %s=%d", l.Reason, l.N)
	}
	if got != want {
		t.Errorf("counts: got %s, want %s", got, want)
	}
}
