// Package settings owns what a container's annotations set, within the administrator's
// bounds: whoever starts a container is not the administrator. On the host, rules may name
// files only below the container's own directory of logs.
package settings

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/xrash/smetrics"

	"devlog/internal/annotation"
	"devlog/internal/changes"
	"devlog/internal/environ"
	"devlog/internal/launch"
	"devlog/internal/names"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
	"devlog/internal/syslogconf"
	"devlog/internal/usage"
)

// The names of annotations that set the flag of the same name, and rules.
const (
	namedRules    = "rules"
	namedStrategy = "strategy"
	namedSocket   = "socket"
	namedListen   = "listen"
	namedJournal  = "journal"
	namedReceiver = "receiver"
	namedRate     = "rate"
	namedOverflow = "overflow"
)

// known are the annotations of this version.
var known = []string{annotation.Log, namedRules, namedStrategy, namedSocket, namedListen, namedJournal, namedReceiver, namedRate, namedOverflow}

// The bounds of an annotation's rules. Each message costs a write for each rule, and each rotation
// renames all old files. Where one process receives for all containers, the others wait for that.
const (
	maxRules       = 32
	minRotateSize  = 64 << 10
	maxRotateCount = 99
)

// Bounds limit what the annotations of one container may set.
type Bounds struct {
	// All says that annotations may set everything, as the administrator does.
	All bool
	// Dir is the host directory below which rules may name files; empty if the receiver
	// writes to the container's files.
	Dir string
	// Shared says that the hook has the privileges to change the host's /dev.
	Shared bool
}

// Settings are what annotations set. What they do not set is empty.
type Settings struct {
	// Off says that the hook does nothing.
	Off bool
	// Rules are the receiver's rules, and Files the paths in them.
	Rules, Files []string
	// Flags are the values of flags, by the flag's name.
	Flags map[string]string
	// Unknown is what to say of annotations that this version does not know; see Unknown.
	Unknown []string
	// Old is an annotation with a deprecated name; empty for none.
	Old string
}

// Read reads a container's annotations. container is its name in its pod, or empty. The error
// is a *plan.Refusal if they ask for more than the bounds allow, and a usage.Error if a value
// is not valid.
func Read(annotations map[string]string, container string, b Bounds) (Settings, error) {
	said, old := annotation.Ours(annotations, container)
	s := Settings{Flags: make(map[string]string), Unknown: unknown(said), Old: old}
	for _, name := range slices.Sorted(maps.Keys(said)) {
		key, value := said[name].Key, said[name].Value
		err := s.read(name, value, b)
		var refusal *plan.Refusal
		switch {
		case errors.Is(err, errUnknown):
			if s.Old == key {
				s.Old = "" // it has no new name
			}
		case errors.As(err, &refusal):
			return s, &plan.Refusal{Reason: "annotation " + key + ": " + refusal.Reason, Advice: refusal.Advice}
		case err != nil:
			return s, usage.Errorf("annotation %s: %w", key, err)
		}
	}
	return s, nil
}

var errUnknown = errors.New("unknown annotation")

// Unknown returns what to say of each annotation with devlog's prefix that this version does not
// know. The container's user chose the names, so the caller must escape them.
func Unknown(annotations map[string]string, container string) []string {
	ours, _ := annotation.Ours(annotations, container)
	return unknown(ours)
}

func unknown(ours map[string]annotation.Said) (said []string) {
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		if !slices.Contains(known, name) && len(said) < maxUnknown {
			said = append(said, "ignored: unknown annotation "+environ.Shorten(ours[name].Key)+similar(name))
		}
	}
	return said
}

// maxUnknown is how many unknown annotations are reported.
const maxUnknown = 8

// similar returns a hint to the known annotation with the most similar name; empty if none is.
func similar(name string) string {
	best, edits := "", 3 // fewer are a slip
	for _, k := range known {
		if n := smetrics.WagnerFischer(environ.Shorten(name), k, 1, 1, 1); n < edits {
			best, edits = k, n
		}
	}
	if best == "" {
		return ""
	}
	return usage.DidYouMean(annotation.Prefix + best)
}

// read reads one annotation.
func (s *Settings) read(name, value string, b Bounds) (err error) {
	switch name {
	case annotation.Log:
		s.Off, err = isOff(value)
		return err
	case namedRules:
		return s.readRules(value, b)
	case namedStrategy:
		var strategy plan.Strategy
		strategy, err = plan.ParseStrategy(value)
		if err == nil && strategy == plan.Symlink && b.Shared && !b.All {
			err = notAllowed("the strategy symlink changes /dev for the host too")
		}
	case namedSocket:
		err = CheckSocket("socket", value)
	case namedListen:
		_, err = SocketPaths("listen", []string{value})
	case namedJournal:
		var off bool
		off, err = isOff(value)
		value = strconv.FormatBool(!off)
	case namedReceiver:
		if value != launch.NoReceiver && !b.All {
			err = notAllowed(fmt.Sprintf("an annotation may set the receiver only to %q", launch.NoReceiver))
		}
	case namedRate:
		_, err = syslogconf.ParseRate(value)
	case namedOverflow:
		_, err = syslogconf.ParseOverflow(value)
	default:
		return errUnknown
	}
	if err == nil {
		s.Flags[name] = value
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

// readRules reads rules, one a line.
func (s *Settings) readRules(text string, b Bounds) error {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" {
			continue
		}
		rule, err := syslogconf.ParseRule(line)
		if err != nil {
			return err
		}
		if b.Dir != "" && !b.All {
			if err := allowed(rule, b.Dir); err != nil {
				return err
			}
			if len(s.Rules) == maxRules {
				return notAllowed(fmt.Sprintf("an annotation may have at most %d rules", maxRules))
			}
		}
		if rule.Kind == syslogconf.File {
			s.Files = append(s.Files, rule.Path)
		}
		s.Rules = append(s.Rules, line)
	}
	return nil
}

// allowed returns an error if an annotation may not give this rule to a receiver on the host.
func allowed(rule syslogconf.Rule, dir string) error {
	switch rule.Kind {
	case syslogconf.ContainerStdout:
		return nil
	case syslogconf.File:
		if r := rule.Rotation; r.Size > 0 && (r.Size < minRotateSize || r.Count > maxRotateCount) {
			return notAllowed(fmt.Sprintf("rule %q: an annotation may rotate files of at least %dk, and keep at most %d", rule, minRotateSize>>10, maxRotateCount))
		}
		if strings.HasPrefix(path.Clean(rule.Path), dir+"/") {
			return nil
		}
	}
	return notAllowed(fmt.Sprintf("rule %q: messages can go to files below %s and to container-stdout only", rule, dir))
}

func notAllowed(reason string) error {
	return &plan.Refusal{Reason: reason, Advice: "ask the administrator, whose hook can have --annotations all"}
}

// WithoutLinks returns an error if the path of the file has a link below dir: a container
// that writes there could point it to any file of the host.
func WithoutLinks(dir, file string) error {
	for at := path.Clean(file); at != dir && strings.HasPrefix(at, dir+"/"); at = path.Dir(at) {
		info, err := os.Lstat(at)
		if err == nil && info.Mode()&os.ModeSymlink != 0 {
			return &plan.Refusal{Reason: fmt.Sprintf("annotation %s: %s is a link", annotation.Prefix+namedRules, at), Advice: "remove it, or name another file"}
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("annotation %s: %w", annotation.Prefix+namedRules, err)
		}
	}
	if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
		return &plan.Refusal{Reason: fmt.Sprintf("annotation %s: %s is no directory", annotation.Prefix+namedRules, dir), Advice: "remove it"}
	}
	return nil
}

// CheckSocket returns an error if the option's value cannot be a socket's path. Clients cut a
// path that is longer than sun_path of unix(7), or fail.
func CheckSocket(option, socket string) error {
	switch {
	case !path.IsAbs(socket) || path.Clean(socket) != socket || socket == "/":
		return fmt.Errorf("--%s %q: want an absolute path without . and .. elements", option, socket)
	case strings.Contains(path.Base(socket), ":"):
		return fmt.Errorf("--%s %q: want a name without a colon", option, socket)
	case len(socket) > rootfs.MaxSocketPath:
		return fmt.Errorf("--%s: want a path of at most %d bytes", option, rootfs.MaxSocketPath)
	case strings.HasPrefix(socket, "/dev/"):
		return fmt.Errorf("--%s %s: containers can share /dev; want a path outside it", option, socket)
	}
	return nil
}

// SocketPaths reads the values of an option that takes paths of sockets, one a line.
func SocketPaths(option string, values []string) (paths []string, err error) {
	for _, value := range values {
		for line := range strings.Lines(value) {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			if err := CheckSocket(option, line); err != nil {
				return nil, err
			}
			paths = append(paths, line)
		}
	}
	return paths, nil
}

// FurtherSockets reads the values of --listen, one path a line, and returns each path once.
// socket is the private socket's path.
func FurtherSockets(values []string, socket string) (list []string, err error) {
	given, err := SocketPaths("listen", values)
	for _, at := range given {
		switch {
		case path.Dir(at) == path.Dir(socket):
			return nil, fmt.Errorf("--listen %s: want a path in another directory than the private socket's", at)
		case names.OfJournal(at):
			return nil, fmt.Errorf("--listen %s: use --journal", at)
		case slices.Contains(list, at):
		case len(list) == changes.MaxFurther:
			return nil, fmt.Errorf("--listen: want at most %d paths", changes.MaxFurther)
		default:
			list = append(list, at)
		}
	}
	return list, err
}

// OwnEnv refuses an environment that is the container's. Some runtimes pass it to
// createContainer hooks that have no "env" of their own, and such a hook runs on the host's
// files with the runtime's privileges.
func OwnEnv(environ, containers []string) error {
	for _, e := range environ {
		if strings.HasPrefix(e, "DEVLOG_") && slices.Contains(containers, e) {
			name, _, _ := strings.Cut(e, "=")
			return &plan.Refusal{Reason: name + " comes from the container's environment, not from the hook's",
				Advice: `give the hook an "env" of its own in its configuration`}
		}
	}
	return nil
}
