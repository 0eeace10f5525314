package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"devlog/internal/hook"
	"devlog/internal/plan"
	"devlog/internal/repair"
	"devlog/internal/settings"
	"devlog/internal/usage"
)

// Asking for help is not an error, and every way of asking prints the same.
func TestMain_asks(t *testing.T) {
	clean(t)
	ask := func(line string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if code := Main(strings.Fields(line), nil, &out, &errs); code != exitDone || errs.Len() > 0 {
			t.Errorf("%s: exit code %d, %q", line, code, errs.String())
		}
		return out.String()
	}
	for _, command := range []string{"", " repair", " config", " config docker"} {
		got, want := ask("devlog-hook help"+command), ask("devlog-hook"+command+" --help")
		if got != want || !strings.Contains(got, "devlog-hook"+command+" - ") {
			t.Errorf("help%s says %q, %s --help %q", command, got, command, want)
		}
	}
	if got, want := ask("devlog-hook --version"), "devlog-hook "+Version+"\n"; got != want {
		t.Errorf("--version says %q, want %q", got, want)
	}
	if got := ask("devlog-hook help config"); !strings.Contains(got, "--dir\n") {
		t.Errorf("the help of config does not explain --dir: %s", got)
	}
	dir := filepath.Join(t.TempDir(), "new/dir")
	ask("devlog-hook config docker --dir " + dir)
	if _, err := os.Stat(filepath.Join(dir, "devlog.docker.json")); err != nil {
		t.Error(err)
	}
}

// An ignored setting is reported once, and the receiver repeats it.
func TestIgnored(t *testing.T) {
	clean(t)
	t.Setenv("DEVLOG_RULX", "*.* /x")
	const variable = "ignored: unknown environment variable DEVLOG_RULX"
	var errs bytes.Buffer
	p := &program{stderr: &errs}
	app := p.app(nil)
	app.Commands = []*cli.Command{usage.Command(cli.Command{Name: "x", Flags: flags(planFlags(""), receiverFlags(), []cli.Flag{annotationsFlag()}), Action: func(c *cli.Context) error {
		many := map[string]string{"devlog.dev/rule": "*.* /x", "other": "", "devlog.dev/a\x00": "", "devlog.dev/" + strings.Repeat("b", 1<<20): ""}
		for i := range 100 {
			many["devlog.dev/c"+strings.Repeat("c", i)] = ""
		}
		if _, err := p.annotations(c, hook.Prestart, hook.Container{ID: "c1", Annotations: many}); err != nil {
			return err
		}
		for range 2 {
			o, err := p.options(c, "c1")
			if err != nil {
				return err
			}
			said, size := o.Receiver.Notices, len(strings.Join(o.Receiver.Notices, "\n"))
			if len(said) != 9 || size > 2000 || strings.Contains(strings.Join(said, ""), "\x00") || said[8] != variable {
				t.Errorf("the receiver is told %d bytes: %q", size, said)
			}
		}
		return nil
	}})}
	if err := app.Run([]string{"devlog-hook", "x"}); err != nil {
		t.Fatal(err)
	}
	if got := errs.String(); strings.Count(got, "devlog-hook: "+variable+"\n") != 1 || strings.Count(got, "\n") != 9 {
		t.Errorf("said %q", got)
	}
	s, err := settings.Read(map[string]string{"devlog.dev/rule": ""}, "", settings.Bounds{})
	if err != nil || !slices.Equal(s.Unknown, []string{"ignored: unknown annotation devlog.dev/rule (did you mean devlog.dev/rules?)"}) {
		t.Errorf("%+v, %v", s, err)
	}
}

// The undo command in a message is for the same container.
func TestUndoOf(t *testing.T) {
	clean(t)
	for line, want := range map[string]string{
		"x": "devlog-hook undo", "x --pid 7": "devlog-hook undo --pid 7", "x --root /c1": "devlog-hook undo --root /c1", "x --host": "devlog-hook undo --host",
	} {
		app := &cli.App{Commands: []*cli.Command{usage.Command(cli.Command{Name: "x", Flags: targetFlags(""), Action: func(c *cli.Context) error {
			if got := undoOf(c); got != want {
				t.Errorf("%s: %s, want %s", line, got, want)
			}
			return nil
		}})}}
		if err := app.Run(append([]string{"devlog-hook"}, strings.Fields(line)...)); err != nil {
			t.Error(err)
		}
	}
}

// Advice may contain text that a container chose: it is escaped.
func TestAdviceIsEscaped(t *testing.T) {
	clean(t)
	r := repair.Result{Changed: true, Plan: plan.Plan{Verdict: plan.Healthy, Advice: "look at \x1b[2J"}}
	app := &cli.App{Commands: []*cli.Command{usage.Command(cli.Command{Name: "x", Flags: targetFlags(""), Action: func(c *cli.Context) error {
		if got, want := nothingToDo(c, r), "nothing to do; hint: look at #033[2J"; got != want {
			t.Errorf("without one: %q, want %q", got, want)
		}
		return nil
	}})}}
	if err := app.Run([]string{"devlog-hook", "x"}); err != nil {
		t.Error(err)
	}
}
