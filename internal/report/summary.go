package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"devlog/internal/hosts"
	"devlog/internal/plan"
	"devlog/internal/repair"
	"devlog/internal/syslog"
)

// maxRows is how many containers a summary shows, so that it fits on a screen.
const maxRows = 15

// Summary writes the result of a check of the host, and a line for each of its containers. all
// says that other users' are among them.
func Summary(w io.Writer, r repair.Result, list []hosts.Sharer, all bool) error {
	if err := checkHostAlone(w, r); err != nil {
		return err
	}
	if err := rows(w, list); err != nil {
		return err
	}
	switch {
	case !all:
		fmt.Fprintln(w, "\nOnly root sees all containers.")
	case len(list) == 0:
		fmt.Fprintln(w, "\nNo container runs here.")
	}
	if slices.ContainsFunc(list, broken) {
		fmt.Fprintln(w, "\ndevlog-hook check CONTAINER, or --pid PID, says more; devlog-hook repair CONTAINER repairs it.")
	}
	return nil
}

// rows writes a line for each container, those with trouble first.
func rows(w io.Writer, list []hosts.Sharer) error {
	if len(list) == 0 {
		return nil
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b hosts.Sharer) int {
		return cmp.Or(rank(a)-rank(b), cmp.Compare(called(a), called(b)))
	})
	shown := list[:min(len(list), maxRows)]
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nSYSLOG()\tCONTAINER\tENGINE\tPID\tRECEIVER\tWHY")
	for _, s := range shown {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\n", works(s), syslog.Escape(called(s)), cmp.Or(s.Engine, unknown), s.PID, receiver(s), why(s))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if hidden := list[len(shown):]; len(hidden) > 0 {
		fails := 0
		for _, s := range hidden {
			if broken(s) {
				fails++
			}
		}
		fmt.Fprintf(w, "%d more; syslog() is broken in %d of them\n", len(hidden), fails)
	}
	return nil
}

// rank orders containers: broken ones that devlog has to do with, other broken ones, the rest.
func rank(s hosts.Sharer) int {
	switch {
	case !broken(s) && s.Facts.Receiver.LogTrouble == "" && len(s.Ignored) == 0:
		return 2
	case !s.Concerns():
		return 1
	}
	return 0
}

func broken(s hosts.Sharer) bool { return s.Problem != "" || !s.Plan.Works() }

func works(s hosts.Sharer) string {
	if broken(s) {
		return "broken"
	}
	return "works"
}

// called is the name to type for a container; unknown if only its process is known.
func called(s hosts.Sharer) string {
	if s.Called == "" && s.ID == "" && strings.HasPrefix(s.Name, "pid-") {
		return unknown
	}
	return s.Shown()
}

// receiver is who receives the container's messages.
func receiver(s hosts.Sharer) string {
	switch {
	case s.Problem != "":
		return "?"
	case s.Facts.Receiver.Unit != "" && s.Facts.Watcher:
		return "devlogd (systemd)"
	case s.Facts.Watcher:
		return "devlogd"
	case s.Facts.Receiver.State == plan.Gone && s.Plan.Verdict != plan.Healthy:
		return "gone"
	case s.Facts.Log.Target.Live && s.Plan.Verdict == plan.Healthy:
		return "its own"
	}
	return "none"
}

// why is why syslog() does not work in the container, or messages are not written; escaped, and
// empty if all is well.
func why(s hosts.Sharer) string {
	words := trouble(s)
	if len(s.Ignored) == 0 {
		return words
	}
	ignored := syslog.Escape(strings.Join(s.Ignored, "; "))
	if words == "" {
		return ignored
	}
	return words + "; " + ignored
}

// trouble is why without the container's annotations.
func trouble(s hosts.Sharer) string {
	switch {
	case !broken(s):
		return syslog.Escape(s.Facts.Receiver.LogTrouble)
	case s.Problem != "":
		return syslog.Escape(s.Problem)
	case s.Hook != nil:
		return "the hook " + syslog.Escape(s.Hook.String())
	case s.Facts.Receiver.State == plan.Gone:
		return "the receiver " + s.Facts.ReceiverInWords()
	case s.Plan.Verdict == plan.Refused:
		return syslog.Escape(s.Plan.String())
	}
	return "/dev/log: " + s.Facts.LogInWords()
}
