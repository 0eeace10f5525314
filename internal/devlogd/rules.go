package devlogd

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/logfile"
	"devlog/internal/router"
	"devlog/internal/syslogconf"
)

// readRules reads the rules. SIGHUP calls it again.
func (o *options) readRules() (list []syslogconf.Rule, err error) {
	r := &o.rules
	if list, r.included, err = syslogconf.LoadAll(r.config, r.texts, syslogconf.DefaultMessages); err == nil {
		err = expand(list, o.receiver.Name)
	}
	return list, err
}

// checkRules reports every wrong line of the rules, and every rule that is valid but does
// nothing.
func checkRules(o *options, stdout io.Writer) error {
	list, err := o.readRules()
	var wrong syslogconf.WrongLines
	if errors.As(err, &wrong) {
		err = errors.Join(wrong...)
	}
	if err != nil {
		return usageError{err}
	}
	var failed []error
	for _, rule := range list {
		if text := router.Remark(rule); text != "" {
			if _, err := fmt.Fprintf(stdout, "devlogd: %s\n", text); err != nil {
				return err
			}
		}
		if rule.Kind != syslogconf.File {
			continue
		}
		if err := logfile.CheckPath(rule.Path); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", rule.Origin(), err))
		}
	}
	if len(failed) > 0 {
		return usageError{errors.Join(failed...)}
	}
	return nil
}

// namePlaceholder is replaced by the container's name in the path of a rule.
const namePlaceholder = "{name}"

// expand replaces namePlaceholder in the rules' paths. If a rule has it, a name that cannot be
// a file's is an error: it could lead anywhere.
func expand(rules []syslogconf.Rule, name string) error {
	for i := range rules {
		path := strings.ReplaceAll(rules[i].Path, namePlaceholder, name)
		if path != rules[i].Path && (name == "." || name == ".." || strings.Contains(name, "/")) {
			return fmt.Errorf("%s: %q cannot stand for %s in a path; hint: use --name with another name", rules[i].Origin(), name, namePlaceholder)
		}
		rules[i].Path = path
	}
	return nil
}

// hostNames returns the names by which clients may call this host.
func hostNames(name string, others []string) [][]byte {
	names := [][]byte{[]byte(name)}
	if short := router.ShortID(name); short != "" {
		names = append(names, []byte(short))
	}
	for _, other := range others {
		names = append(names, []byte(other))
	}
	if node, err := nodeName(); err == nil && node != name {
		names = append(names, []byte(node))
	}
	return names
}

func nodeName() (string, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "", fmt.Errorf("cannot read the host name: %w", err)
	}
	name := unix.ByteSliceToString(uts.Nodename[:])
	if name == "" {
		return "localhost", nil
	}
	// A line must stay one line, whatever the host's name is.
	return strings.Map(func(c rune) rune {
		if c <= ' ' || c >= 0x7f {
			return '?'
		}
		return c
	}, name), nil
}
