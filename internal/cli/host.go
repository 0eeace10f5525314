package cli

import (
	"errors"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"devlog/internal/failure"
	"devlog/internal/hosts"
	"devlog/internal/plan"
	"devlog/internal/repair"
	"devlog/internal/rootfs"
	"devlog/internal/syslog"
	"devlog/internal/target"
)

// checkHost reports on the host, r, and on every container that shares its
// /dev.
func (p *program) checkHost(c *cli.Context, r repair.Result, o repair.Options) error {
	list, err := hosts.List(o)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		err = p.writeJSON(struct {
			Host       resultJSON     `json:"host"`
			Containers []hosts.Sharer `json:"containers"`
		}{asJSON(r), append([]hosts.Sharer{}, list...)})
	} else if err = r.Report(p.stdout); err == nil {
		if log := r.Facts.Log; log.Kind == rootfs.Link && log.Target.Kind == rootfs.Absent {
			fmt.Fprintln(p.stdout, danglingNote)
		}
		err = p.table(list)
	}
	if err != nil {
		return err
	}
	return verdict(r, list)
}

// danglingNote is what else a link that leads nowhere does: engines look whether a
// file that a container mounts exists, through the link, and make a directory of its
// name if not.
const danglingNote = "note      a pod or container that mounts this /dev/log by itself does not start (mkdir /dev/log: file exists): have it mount /dev alone"

// verdict is check's answer about the host and its containers. While a repair of
// one of them would do something that is the answer: what else is refused may not
// be any more after that, such as where the host is not prepared yet.
func verdict(host repair.Result, containers []hosts.Sharer) error {
	if err := answer(host); err != nil {
		return err
	}
	var err error
	for _, s := range containers {
		switch {
		case s.Problem != "" || s.Plan.Verdict == plan.NeedsRepair:
			return errNeedsRepair
		case s.Plan.Verdict == plan.Refused:
			err = errRefuses
		}
	}
	return err
}

// answer is check's answer about one container, or the host by itself.
func answer(r repair.Result) error {
	switch {
	case r.Plan.Verdict == plan.Refused:
		return errRefuses
	case !r.Works():
		return errNeedsRepair
	}
	return nil
}

// table lists the containers that share the host's /dev.
func (p *program) table(list []hosts.Sharer) error {
	if len(list) == 0 && os.Geteuid() != 0 {
		_, err := fmt.Fprintln(p.stdout, "\nOnly root sees which containers share this /dev.")
		return err
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(p.stdout, "\nNo container shares this /dev.")
		return err
	}
	fmt.Fprintln(p.stdout, "\nContainers that share this /dev:")
	t := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PID\tCOMMAND\tCONTAINER\tRECEIVER\t/dev/log\tREPAIR")
	for _, s := range list {
		receiver := "none"
		switch {
		case s.Facts.Receiver.Unit != "" && s.Facts.Watcher:
			receiver = "devlogd (systemd)"
		case s.Facts.Watcher:
			receiver = "devlogd"
		case s.Facts.Receiver.State == plan.Gone && s.Plan.Verdict != plan.Healthy:
			receiver = "gone"
		case s.Facts.Log.Target.Live && s.Plan.Verdict == plan.Healthy:
			receiver = "its own"
		}
		log, repair := s.Facts.LogInWords(), s.Plan.String()
		if s.Problem != "" {
			receiver, log, repair = "?", "?", "failed: "+s.Problem
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\n", s.PID, syslog.Escape(s.Command), syslog.Escape(s.Name), receiver, log, syslog.Escape(repair))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, s := range list {
		if s.Hook != nil {
			fmt.Fprintf(p.stdout, "container %s (process %d): hook %s\n", syslog.Escape(s.Name), s.PID, syslog.Escape(s.Hook.String()))
		}
	}
	return nil
}

// repairSharers repairs every container that shares the host's /dev and needs
// it.
func (p *program) repairSharers(c *cli.Context, o repair.Options) error {
	list, err := hosts.List(o)
	if err != nil {
		return err
	}
	err = hosts.RepairAll(list, func(name string) (repair.Options, error) {
		return p.options(c, name)
	}, func(s hosts.Sharer, t *target.Target, o repair.Options, r repair.Result) {
		of := fmt.Sprintf("container %s (process %d): ", syslog.Escape(s.Name), s.PID)
		fmt.Fprintln(p.stdout, of+repaired(r))
		if next := leftToDo(t, o, r); next != "" {
			fmt.Fprintln(p.stdout, of+next)
		}
		p.sayWarnings(of)
		failure.Forget(t, s.Name)
	})
	return each(err)
}

// each takes joined errors apart.
func each(err error) error {
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) {
		return failures(many.Unwrap())
	}
	return err
}

// repaired says what a repair has done.
func repaired(r repair.Result) string {
	if !r.Changed {
		return "nothing to do: syslog() works here"
	}
	return "repaired by " + r.Plan.String()
}

// sayRepaired says what a repair has done, and what is left to do.
func (p *program) sayRepaired(c *cli.Context, t *target.Target, o repair.Options, r repair.Result) {
	switch {
	case !r.Changed:
		fmt.Fprintln(p.stdout, nothingToDo(c, r))
		return
	case c.Bool("host"):
		fmt.Fprintln(p.stdout, "prepared the host by "+r.Plan.String())
		if r.Plan.Advice != "" {
			fmt.Fprintln(p.stdout, "now "+r.Plan.Advice)
		}
		p.sayWarnings("")
		return
	}
	fmt.Fprintln(p.stdout, repaired(r))
	if next := leftToDo(t, o, r); next != "" {
		fmt.Fprintln(p.stdout, next)
	}
	p.sayWarnings("")
}

// sayWarnings says what there is to know of the receiver that was started last.
func (p *program) sayWarnings(of string) {
	for _, text := range p.warnings {
		fmt.Fprintln(p.stdout, of+syslog.Escape(text))
	}
	p.warnings = nil
}

// leftToDo says what comes after the repair of a container: what its user is to
// do, or else where to look. It is empty where rules say that, or a receiver runs
// already, which has options of its own.
func leftToDo(t *target.Target, o repair.Options, r repair.Result) string {
	switch {
	case !r.Changed:
		return ""
	case r.Plan.Advice != "":
		return "now " + syslog.Escape(r.Plan.Advice)
	case o.NoReceiver:
		return "now " + plan.OwnDaemon + syslog.Escape(r.Plan.Socket)
	}
	if file := o.Receiver.Messages(t); file != "" && r.Plan.StartsReceiver() {
		return "messages go to " + file
	}
	return ""
}
