package cli

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"devlog/internal/annotation"
	"devlog/internal/environ"
	"devlog/internal/hook"
	"devlog/internal/launch"
	"devlog/internal/settings"
	"devlog/internal/syslogconf"
	"devlog/internal/usage"
)

// How much annotations may set.
const (
	annotationsNone    = "none"
	annotationsLimited = "limited"
	annotationsAll     = "all"
)

func annotationsFlag() cli.Flag {
	return &cli.StringFlag{Name: "annotations", Value: annotationsLimited, EnvVars: env("ANNOTATIONS"),
		Usage: "choose `HOW` much the container's annotations may set: none, limited, or all (as the administrator may)"}
}

// annotations sets the flags that are not given to the values of the container's
// annotations. off says that the hook does nothing.
func (p *program) annotations(c *cli.Context, stage hook.Stage, container hook.Container) (off bool, err error) {
	how := c.String("annotations")
	if how == annotationsNone {
		return false, nil
	}
	if how != annotationsLimited && how != annotationsAll {
		return false, usage.Errorf("--annotations %q: want none, limited or all", how)
	}
	if err := p.setName(c, container.ID); err != nil {
		return false, err
	}
	b := settings.Bounds{All: how == annotationsAll, Shared: stage != hook.StartContainer}
	if stage.OnHost() {
		b.Dir = filepath.Dir(launch.MessagesFile(false, p.name))
	}
	s, err := settings.Read(container.Annotations, annotation.PodOf(container.Annotations).Container, b)
	if err != nil || s.Off {
		return s.Off, err
	}
	for _, said := range s.Unknown {
		p.notice(said)
	}
	if s.Old != "" {
		p.notice(fmt.Sprintf("annotation %s is now called %s; the old name still works", environ.Shorten(s.Old), environ.Shorten(annotation.NewName(s.Old))))
	}
	if stage == hook.Poststop {
		s.Rules = nil // no receiver starts
	}
	return false, p.apply(c, s, b)
}

// apply sets the flags that are not given.
func (p *program) apply(c *cli.Context, s settings.Settings, b settings.Bounds) error {
	if c.IsSet("rule") || c.IsSet("config") || len(syslogconf.RulesFromEnv(os.Environ())) > 0 {
		s.Rules, s.Files = nil, nil
	}
	if !b.All && b.Dir != "" {
		for _, file := range s.Files {
			if err := settings.WithoutLinks(b.Dir, file); err != nil {
				return err
			}
		}
	}
	for _, rule := range s.Rules {
		if err := c.Set("rule", rule); err != nil {
			return usage.Error{Err: err}
		}
	}
	for _, flag := range slices.Sorted(maps.Keys(s.Flags)) {
		if c.IsSet(flag) {
			continue
		}
		if err := c.Set(flag, s.Flags[flag]); err != nil {
			return usage.Error{Err: err}
		}
	}
	return nil
}
