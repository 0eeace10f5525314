package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"devlog/internal/failure"
	"devlog/internal/hosts"
	"devlog/internal/plan"
	"devlog/internal/repair"
	"devlog/internal/report"
	"devlog/internal/syslog"
	"devlog/internal/target"
)

// checkHost reports on the host, r, and on every container that shares its /dev.
func (p *program) checkHost(c *cli.Context, r repair.Result, o repair.Options) error {
	list, err := hosts.List(o)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		err = report.HostJSON(p.stdout, r, list)
	} else {
		err = report.InColors(p.stdout, func(w io.Writer) error { return report.CheckHost(w, r, list) })
	}
	if err != nil {
		return err
	}
	return answer(report.HostVerdict(r, list))
}

// summarize reports on the host, t, with the result r, and on all of its containers.
func (p *program) summarize(c *cli.Context, t *target.Target, r repair.Result, list []hosts.Sharer, o repair.Options) error {
	if slices.ContainsFunc(list, func(s hosts.Sharer) bool { return s.Facts.Dev.Sharing != plan.Private }) {
		asHost := *t
		asHost.Host = true // then the question is whether containers can have their own logs
		if h, err := repair.Check(&asHost, o); err == nil && h.Facts.NotHost == "" {
			h.Hook, r = r.Hook, h
		}
	}
	var err error
	if c.Bool("json") {
		err = report.HostJSON(p.stdout, r, list)
	} else {
		err = report.InColors(p.stdout, func(w io.Writer) error { return report.Summary(w, r, list, os.Geteuid() == 0) })
	}
	if err != nil {
		return err
	}
	return answer(report.HostVerdict(r, slices.DeleteFunc(list, func(s hosts.Sharer) bool { return !s.Concerns() })))
}

// repairSharers repairs every container that shares the host's /dev and needs a repair.
func (p *program) repairSharers(c *cli.Context, o repair.Options) error {
	list, err := hosts.List(o)
	if err != nil {
		return err
	}
	err = hosts.RepairAll(list, func(name string) (repair.Options, error) {
		return p.options(c, name)
	}, func(s hosts.Sharer, t *target.Target, o repair.Options, r repair.Result) {
		of := fmt.Sprintf("container %s (process %d): ", syslog.Escape(s.Shown()), s.PID)
		report.Repaired(p.stdout, of, t, o, r)
		p.sayWarnings(of)
		failure.Forget(t, s.Name)
	})
	return each(err)
}

// each returns joined errors as failures.
func each(err error) error {
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) {
		return failures(many.Unwrap())
	}
	return err
}

// sayRepaired prints what a repair did and what the user has to do next.
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
	report.Repaired(p.stdout, "", t, o, r)
	p.sayWarnings("")
}

// sayWarnings prints warnings about the receiver that was started last.
func (p *program) sayWarnings(of string) {
	for _, text := range p.warnings {
		fmt.Fprintln(p.stdout, of+syslog.Escape(text))
	}
	p.warnings = nil
}
