package cli

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"devlog/internal/annotation"
	"devlog/internal/environ"
	"devlog/internal/hook"
	"devlog/internal/launch"
	"devlog/internal/plan"
	"devlog/internal/syslogconf"
)

// Annotations are how whoever starts a container chooses for it. They are not
// the administrator's word: what the hook's own flags and variables say comes
// first, and on the host they reach no file but below the container's own
// directory of logs.

// How much annotations may say.
const (
	annotationsNone    = "none"
	annotationsLimited = "limited"
	annotationsAll     = "all"
)

// The names of our annotations, beside annotation.Log; they are those of flags.
const (
	saidRules     = "rules"
	saidStrategy  = "strategy"
	saidSocket    = "socket"
	saidReceiver  = "receiver"
	saidSupervise = "supervise"
	saidRate      = "rate"
	saidOverflow  = "overflow"
)

// maxUnknown is how many annotations that are not known are told of.
const maxUnknown = 8

func annotationsFlag() cli.Flag {
	return &cli.StringFlag{Name: "annotations", Value: annotationsLimited, EnvVars: env("ANNOTATIONS"),
		Usage: "`HOW` much the container's annotations may say: none, limited, or all (as if the administrator said it)"}
}

// bounds are what annotations may say of one container.
type bounds struct {
	// all says that whoever starts containers is trusted as the hook's owner is.
	all bool
	// dir is the directory on the host below which rules may name files; empty
	// where the receiver's files are the container's.
	dir string
	// shared says that the hook has the rights to change the host's /dev.
	shared bool
}

// settings are what annotations say. Empty is unsaid.
type settings struct {
	off   bool
	rules []string
	// flags are the values of the flags that are called as their annotations are.
	flags map[string]string
	// files are the paths on the host that the rules name.
	files []string
	// unknown are annotations of ours that this version does not know.
	unknown []string
	// old is one that has another name now; empty for none.
	old string
}

// annotations takes over what the container's annotations say into the flags
// that are not given. off says that the hook is to do nothing.
func (p *program) annotations(c *cli.Context, stage hook.Stage, container hook.Container) (off bool, err error) {
	how := c.String("annotations")
	if how == annotationsNone {
		return false, nil
	}
	if how != annotationsLimited && how != annotationsAll {
		return false, usageError{fmt.Errorf("--annotations %q: want none, limited or all", how)}
	}
	if err := p.setName(c, container.ID); err != nil {
		return false, err
	}
	l := bounds{all: how == annotationsAll, shared: stage != hook.StartContainer}
	if stage.OnHost() {
		l.dir = filepath.Dir(launch.MessagesFile(false, p.name))
	}
	s, err := readAnnotations(container.Annotations, annotation.PodOf(container.Annotations).Container, l)
	if err != nil || s.off {
		return s.off, err
	}
	for _, name := range s.unknown[:min(len(s.unknown), maxUnknown)] {
		p.passOver("ignored: unknown annotation " + environ.Shorten(name))
	}
	if s.old != "" {
		p.passOver(fmt.Sprintf("annotation %s is called %s now; the old name still works", environ.Shorten(s.old), environ.Shorten(annotation.NewName(s.old))))
	}
	if stage == hook.Poststop {
		s.rules = nil // nobody will read them
	}
	return false, p.apply(c, s, l)
}

// apply sets the flags that are not given.
func (p *program) apply(c *cli.Context, s settings, l bounds) error {
	if c.IsSet("rule") || c.IsSet("config") || len(syslogconf.RulesFromEnv(os.Environ())) > 0 {
		s.rules, s.files = nil, nil
	}
	if !l.all && l.dir != "" {
		for _, file := range s.files {
			if err := withoutLinks(l.dir, file); err != nil {
				return err
			}
		}
	}
	for _, rule := range s.rules {
		if err := c.Set("rule", rule); err != nil {
			return usageError{err}
		}
	}
	for _, flag := range slices.Sorted(maps.Keys(s.flags)) {
		if c.IsSet(flag) {
			continue
		}
		if err := c.Set(flag, s.flags[flag]); err != nil {
			return usageError{err}
		}
	}
	return nil
}

// readAnnotations decides what the annotations may say of the container, that a
// pod may have of that name. The error is a plan.Refusal where they ask for more.
func readAnnotations(annotations map[string]string, container string, l bounds) (settings, error) {
	s := settings{flags: make(map[string]string)}
	said, old := annotation.Ours(annotations, container)
	s.old = old
	for _, name := range slices.Sorted(maps.Keys(said)) {
		key, value := said[name].Key, said[name].Value
		err := s.read(name, value, l)
		var refusal *plan.Refusal
		switch {
		case errors.Is(err, errUnknown):
			s.unknown = append(s.unknown, key)
			if s.old == key {
				s.old = "" // it has no new name
			}
		case errors.As(err, &refusal):
			return s, &plan.Refusal{Reason: "annotation " + key + ": " + refusal.Reason, Advice: refusal.Advice}
		case err != nil:
			return s, usageError{fmt.Errorf("annotation %s: %w", key, err)}
		}
	}
	return s, nil
}

var errUnknown = errors.New("this version does not know it")

// read takes over one annotation.
func (s *settings) read(name, value string, l bounds) (err error) {
	switch name {
	case annotation.Log:
		s.off, err = isOff(value)
		return err
	case saidRules:
		return s.readRules(value, l)
	case saidStrategy:
		var strategy plan.Strategy
		strategy, err = plan.ParseStrategy(value)
		if err == nil && strategy == plan.Symlink && l.shared && !l.all {
			err = notAllowed("the strategy symlink changes /dev for the host too")
		}
	case saidSocket:
		err = checkSocket("socket", value)
	case saidReceiver:
		if value != launch.NoReceiver && !l.all {
			err = notAllowed(fmt.Sprintf("an annotation may set the receiver only to %q", launch.NoReceiver))
		}
	case saidSupervise:
		if _, err = launch.ParseSupervisor(value); err == nil && !l.all {
			err = notAllowed("a service of the host's is not for a container to ask for")
		}
	case saidRate:
		_, err = syslogconf.ParseRate(value)
	case saidOverflow:
		_, err = syslogconf.ParseOverflow(value)
	default:
		return errUnknown
	}
	if err == nil {
		s.flags[name] = value
	}
	return err
}

func isOff(value string) (bool, error) {
	switch value {
	case annotation.Off:
		return true, nil
	case annotation.On:
		return false, nil
	}
	return false, fmt.Errorf("%q: want on or off", value)
}

// readRules reads one rule a line.
func (s *settings) readRules(text string, l bounds) error {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" {
			continue
		}
		rule, err := syslogconf.ParseRule(line)
		if err != nil {
			return err
		}
		if l.dir != "" && !l.all {
			if err := allowed(rule, l.dir); err != nil {
				return err
			}
		}
		if rule.Kind == syslogconf.File {
			s.files = append(s.files, rule.Path)
		}
		s.rules = append(s.rules, line)
	}
	return nil
}

// allowed says why a rule is not for whoever starts a container to give to a
// receiver on the host.
func allowed(rule syslogconf.Rule, dir string) error {
	switch rule.Kind {
	case syslogconf.ContainerStdout:
		return nil
	case syslogconf.File:
		if strings.HasPrefix(path.Clean(rule.Path), dir+"/") {
			return nil
		}
	}
	return notAllowed(fmt.Sprintf("rule %q: messages can go to files below %s and to container-stdout only", rule, dir))
}

func notAllowed(reason string) error {
	return &plan.Refusal{Reason: reason, Advice: "ask the administrator, whose hook can have --annotations all"}
}

// withoutLinks says why the file is not where its path says: a link below the
// directory, that the container may have been given, leads elsewhere.
func withoutLinks(dir, file string) error {
	for at := path.Clean(file); at != dir && strings.HasPrefix(at, dir+"/"); at = path.Dir(at) {
		info, err := os.Lstat(at)
		if err == nil && info.Mode()&os.ModeSymlink != 0 {
			return &plan.Refusal{Reason: fmt.Sprintf("annotation %s: %s is a link", annotation.Prefix+saidRules, at), Advice: "remove it, or name another file"}
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("annotation %s: %w", annotation.Prefix+saidRules, err)
		}
	}
	if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
		return &plan.Refusal{Reason: fmt.Sprintf("annotation %s: %s is no directory", annotation.Prefix+saidRules, dir), Advice: "remove it"}
	}
	return nil
}
