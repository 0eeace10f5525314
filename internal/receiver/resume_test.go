package receiver

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devlog/internal/handover"
	"devlog/internal/logfile"
	"devlog/internal/output"
	"devlog/internal/router"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// Pending messages of outputs without a rule are still written there, however many outputs
// there are. Nothing else is.
func TestResumeWithoutRules(t *testing.T) {
	dir := t.TempDir()
	s := handover.NewDescription()
	var names []string
	for _, name := range []string{"a", "b", "c"} {
		names = append(names, filepath.Join(dir, name))
		s.Outputs = append(s.Outputs, &handover.Output{Path: handover.Text(names[len(names)-1]), Kind: int(syslogconf.File), Taken: 1, State: output.State{Pending: []byte("late\n"), FD: -1}})
	}
	kept := filepath.Join(dir, "kept")
	r := newReceiver(t, Config{Name: "box", Rules: func() ([]syslogconf.Rule, error) { return rules(t, "*.* -"+kept), nil }})
	r.Resume(s, false)
	if err := r.OpenOutputs(nil); err != nil {
		t.Fatal(err)
	}
	r.handle([]byte("<2>x: y"), false, syslog.Sender{})
	if r.isOwn([]byte("box")) {
		t.Error("a rule for the kernel's log")
	}
	r.Flush(time.Now())
	for _, name := range names {
		if got, err := os.ReadFile(name); err != nil || string(got) != "late\n" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got := content(t, kept); got != "box x: y\n" {
		t.Errorf("%q", got)
	}
}

// Pending messages of a file that cannot be opened any more keep waiting, and end as lost.
func TestResumeUnopened(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "d", "m")
	if err := os.WriteFile(filepath.Dir(path), nil, 0o600); err != nil { // no directory
		t.Fatal(err)
	}
	other := "-" + filepath.Join(dir, "other")
	for _, rule := range []string{"-" + path, other, "|" + path} { // the last is another output with this name
		r := newReceiver(t, Config{Name: "box", Rules: func() ([]syslogconf.Rule, error) { return rules(t, "*.* "+rule), nil }})
		said := hearKernel(r)
		r.Resume(&handover.Description{Outputs: []*handover.Output{{Path: handover.Text(path), Kind: int(syslogconf.File), Taken: 1, State: output.State{Pending: []byte("late\n"), FD: -1}}}}, false)
		if err := r.OpenOutputs(nil); err != nil {
			t.Fatalf("%s: %v", rule, err)
		}
		r.Flush(time.Now())
		if kernel := *said; (rule == other) != (kernel == "") || kernel != "" && !strings.Contains(kernel, path+": ") {
			t.Errorf("%s: the kernel's log has %q", rule, kernel)
		}
		lost := uint64(0)
		for _, route := range r.router.Routes {
			if f, ok := router.Behind(route.Out).(*logfile.Guarded); ok && f.Name() == path {
				f.Close()
				for _, l := range f.Counts().Lost {
					lost += l.N
				}
			}
		}
		if lost == 0 {
			t.Errorf("%s: what waited is not accounted for", rule)
		}
	}
}

// A stream that cannot be opened is reported in the kernel's log if there is no other output,
// and nowhere else.
func TestProblemsOfTheOnlyOutput(t *testing.T) {
	dir := t.TempDir()
	fifo, file := "*.* |"+filepath.Join(dir, "fifo"), "*.* -"+filepath.Join(dir, "file")
	for _, tt := range []struct {
		rules []string
		want  bool
	}{
		{[]string{fifo}, true},
		{[]string{fifo, file}, false},
		{[]string{fifo, "mail.* -" + filepath.Join(dir, "mail")}, true},
	} {
		r := newReceiver(t, Config{Name: "box", Rules: func() ([]syslogconf.Rule, error) { return rules(t, tt.rules...), nil }})
		said := hearKernel(r)
		if err := r.OpenOutputs(nil); err != nil {
			t.Fatal(err)
		}
		r.Flush(time.Now())
		if strings.Contains(*said, "make one with mkfifo; trying again") != tt.want {
			t.Errorf("%q: the kernel's log has %q", tt.rules, *said)
		}
		*said = ""
		r.Flush(time.Now())
		if *said != "" {
			t.Errorf("%q: it is said again: %q", tt.rules, *said)
		}
	}
}

// A program that cannot continue reports that, and what is lost: nobody may see its standard
// error.
func TestResumeEnds(t *testing.T) {
	r := newReceiver(t, Config{Name: "box"})
	said := hearKernel(r)
	s := &handover.Description{Outputs: []*handover.Output{{State: output.State{Pending: []byte("a\nb\n")}}}}
	r.SayEnds(s, errors.New("bad rule"))
	if want := "devlogd: exits, because it cannot continue from the previous program: bad rule; 2 messages lost that waited to be written"; *said != want {
		t.Errorf("%q", *said)
	}
	r.router.Routes = []router.Route{{Out: &recorder{}}}
	if r.SayEnds(s, errors.New("x")); strings.Contains(*said, "lost") {
		t.Errorf("what an output says itself: %q", *said)
	}
}
