package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"devlog/internal/containers"
	"devlog/internal/plan"
	"devlog/internal/report"
	"devlog/internal/running"
	"devlog/internal/usage"
)

func (p *program) listCommand() *cli.Command {
	return usage.Command(cli.Command{
		Name:  "list",
		Usage: "list the containers on this host that have a receiver",
		Description: "Unknown values are \"-\", or null in JSON. The numbers of messages and of lost messages are known only\n" +
			"of devlogd.service, and of receivers with --metrics-file, at most ten seconds old.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "write JSON, for programs", EnvVars: env("JSON")}},
		Action: func(c *cli.Context) error {
			p.typed = true
			receivers, err := running.List()
			if err != nil {
				return fmt.Errorf("cannot find the receivers: %w", err)
			}
			list := make([]report.Served, 0, len(receivers)) // an empty list in JSON, not null
			for _, r := range receivers {
				container, _ := containers.This().OfProcess(r.Container)
				list = append(list, report.ServedBy(r, container))
			}
			slices.SortFunc(list, report.CompareServed)
			if c.Bool("json") {
				err = report.JSON(p.stdout, list)
			} else {
				err = report.WriteServed(p.stdout, list, os.Geteuid() == 0)
			}
			if err == nil && os.Geteuid() != 0 {
				p.say(errors.New("receivers of other users are not listed; hint: " + plan.RunAsRoot))
			}
			return err
		},
	})
}
