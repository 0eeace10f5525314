package report

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/hosts"
	"devlog/internal/plan"
	"devlog/internal/repair"
)

// However many containers there are, their summary is short; those with trouble come first,
// and what a container chose does not control a terminal.
func TestSummary(t *testing.T) {
	var list []hosts.Sharer
	for i := range 40 {
		list = append(list, hosts.Sharer{PID: i, Called: fmt.Sprint("c", i), Plan: plan.Plan{Verdict: plan.Healthy}})
	}
	list[30].Plan.Verdict = plan.NeedsRepair
	list[30].Called = "\x1b[2J"
	list[31].Problem = "it did\nnot answer"
	list[33].Plan.Verdict = plan.NeedsRepair
	list[33].Facts.Dev.Sharing = plan.Private
	var out strings.Builder
	if err := Summary(&out, repair.Result{Plan: plan.Plan{Verdict: plan.Healthy}}, list, true); err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(out.String(), "WHY\n")
	lines := strings.Split(table, "\n")
	if !ok || strings.Count(out.String(), "\n") > 24 || !strings.Contains(table, "\n25 more; syslog() is broken in 0 of them\n") {
		t.Fatalf("it says\n%s", out.String())
	}
	for i, want := range []string{"broken    #033[2J  ", "broken    c31  ", "broken    c33  ", "works     c0  "} {
		if !strings.HasPrefix(strings.Join(strings.Fields(lines[i]), " ")+"  ", strings.Join(strings.Fields(want), " ")) {
			t.Errorf("line %d is %q, want %q", i, lines[i], want)
		}
	}
	if !strings.Contains(lines[1], "it did#012not answer") {
		t.Errorf("it says %q", lines[1])
	}
	out.Reset()
	list[35].Ignored = []string{"ignored: unknown annotation devlog.dev/\x1bx"}
	if err := Summary(&out, repair.Result{}, list[34:36], true); err != nil || !strings.Contains(out.String(), "WHY\nworks     c35        -       35   none      ignored: unknown annotation devlog.dev/#033x\n") {
		t.Errorf("with an annotation: %v\n%s", err, out.String())
	}
	out.Reset()
	if err := Summary(&out, repair.Result{}, nil, false); err != nil || !strings.HasSuffix(out.String(), "\nOnly root sees all containers.\n") {
		t.Errorf("to a user: %v\n%s", err, out.String())
	}
}

// Only a terminal gets colors, and not if NO_COLOR is set.
func TestColors(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	defer master.Close()
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	terminal, oerr := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err := errors.Join(err, oerr); err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	t.Setenv("TERM", "xterm")
	const text = "/dev/log  works of art\nsyslog()  works\nsyslog()  reaches somebody\nbroken    web\n"
	write := func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
	for _, tt := range []struct{ noColor, want string }{
		{"", "/dev/log  works of art\r\nsyslog()  \x1b[32mworks\x1b[0m\r\nsyslog()  \x1b[31mreaches\x1b[0m somebody\r\n\x1b[31mbroken\x1b[0m    web\r\n"},
		{"1", strings.ReplaceAll(text, "\n", "\r\n")},
	} {
		t.Setenv("NO_COLOR", tt.noColor)
		if err := InColors(terminal, write); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(tt.want))
		if _, err := io.ReadFull(master, got); err != nil || string(got) != tt.want {
			t.Errorf("NO_COLOR=%s: %q, %v", tt.noColor, got, err)
		}
	}
	t.Setenv("NO_COLOR", "")
	var out strings.Builder
	if err := InColors(&out, write); err != nil || out.String() != text {
		t.Errorf("to no terminal: %q, %v", out.String(), err)
	}
}
