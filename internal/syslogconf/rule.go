// Package syslogconf owns the rule: which messages go where, as
// syslog.conf(5) writes it. sysklogd 2's manual is the reference.
package syslogconf

import (
	"errors"
	"fmt"
	"strings"

	"devlog/internal/syslog"
)

// KernelLog is the path that as an action means the kernel's log.
const KernelLog = "/dev/kmsg"

// Rule says which messages go to one place.
type Rule struct {
	Action

	selector string
	match    [syslog.NumFacilities]uint8 // a bit for each severity
}

// Match reports whether messages of this facility and severity go there.
func (r *Rule) Match(f syslog.Facility, s syslog.Severity) bool {
	return int(f) < len(r.match) && r.match[f]&(1<<s) != 0
}

// String returns the rule as ParseRule reads it.
func (r Rule) String() string {
	if r.Sync || r.Kind == Kernel {
		return r.selector + " " + r.Path
	}
	return r.selector + " -" + r.Path
}

// ruleError is what is wrong at an offset in a rule's text.
type ruleError struct {
	offset int
	text   string
}

func (e *ruleError) Error() string { return e.text }

func errAt(offset int, format string, args ...any) error {
	return &ruleError{offset, fmt.Sprintf(format, args...)}
}

const blanks = " \t"

// ParseRule reads one rule, "SELECTOR ACTION". The error says which column is
// wrong and what was expected there.
func ParseRule(text string) (Rule, error) {
	rule, err := parseRule(text)
	if err == nil {
		return rule, nil
	}
	var at *ruleError
	if errors.As(err, &at) {
		return Rule{}, fmt.Errorf("rule %q, column %d: %w", text, at.offset+1, err)
	}
	return Rule{}, fmt.Errorf("rule %q: %w", text, err)
}

func parseRule(text string) (Rule, error) {
	text = strings.TrimRight(text, blanks)
	start := len(text) - len(strings.TrimLeft(text, blanks))
	if i := strings.IndexAny(text, "\n\r\x00"); i >= 0 {
		return Rule{}, errAt(i, "a rule is one line: give each rule by itself")
	}
	if start == len(text) {
		return Rule{}, errAt(0, "empty rule: expected SELECTOR ACTION, such as *.info /var/log/messages")
	}
	length := strings.IndexAny(text[start:], blanks)
	if length < 0 {
		return Rule{}, errAt(len(text), "expected an action after the selector, such as /var/log/messages")
	}
	end := start + length
	r := Rule{selector: text[start:end]}
	for offset := start; offset <= end; {
		length := strings.IndexByte(text[offset:end], ';')
		if length < 0 {
			length = end - offset
		}
		// A ';' at the very end is common and harmless.
		if length > 0 || offset == start || offset < end {
			if err := r.addSelector(text[offset:offset+length], offset); err != nil {
				return Rule{}, err
			}
		}
		offset += length + 1
	}
	action := strings.TrimLeft(text[end:], blanks)
	if err := r.setAction(action, len(text)-len(action)); err != nil {
		return Rule{}, err
	}
	return r, nil
}

// addSelector applies "fac[,fac...].[!][=]sev" to what earlier ones selected.
func (r *Rule) addSelector(part string, offset int) error {
	dot := strings.IndexByte(part, '.')
	if dot < 0 {
		return errAt(offset, "expected FACILITY.SEVERITY, found %q", part)
	}
	facilities, err := parseFacilities(part[:dot], offset)
	if err != nil {
		return err
	}
	name := part[dot+1:]
	rest := strings.TrimPrefix(name, "!")
	remove := rest != name
	level := strings.TrimPrefix(rest, "=")
	only := level != rest
	bits, err := severityBits(level, only, offset+len(part)-len(level))
	if err != nil {
		return err
	}
	if bits == 0 { // none
		remove, bits = true, 0xff
	}
	for f := range r.match {
		switch {
		case facilities&(1<<f) == 0:
		case remove:
			r.match[f] &^= bits
		default:
			r.match[f] |= bits
		}
	}
	return nil
}

// parseFacilities reads "fac[,fac...]" as a bit for each facility.
func parseFacilities(list string, offset int) (uint32, error) {
	var bits uint32
	for name := range strings.SplitSeq(list, ",") {
		if name == "*" {
			bits = 1<<syslog.NumFacilities - 1
		} else if f, ok := syslog.ParseFacility(strings.ToLower(name)); ok {
			bits |= 1 << f
		} else {
			return 0, errAt(offset, "unknown facility %q: expected * or one of auth authpriv cron daemon ftp kern lpr mail news syslog user uucp local0 to local7", name)
		}
		offset += len(name) + 1
	}
	return bits, nil
}

// severityBits reads a severity as a bit for each that it stands for; none is 0.
func severityBits(name string, only bool, offset int) (uint8, error) {
	switch name = strings.ToLower(name); name {
	case "*":
		return 0xff, nil
	case "none":
		return 0, nil
	}
	s, ok := syslog.ParseSeverity(name)
	if !ok {
		return 0, errAt(offset, "unknown severity %q: expected * or one of emerg alert crit err warning notice info debug none", name)
	}
	if only {
		return 1 << s, nil
	}
	return uint8(1<<(s+1) - 1), nil
}

func (r *Rule) setAction(action string, offset int) error {
	path := strings.TrimPrefix(action, "-")
	r.Sync = path == action
	const instead = "use the absolute path of a file, or " + KernelLog
	switch {
	case strings.HasPrefix(path, "/"):
	case strings.HasPrefix(path, "@"):
		return errAt(offset, "sending to a remote host (%s) is not supported yet: %s", action, instead)
	case strings.HasPrefix(path, "|"):
		return errAt(offset, "writing to a pipe (%s) is not supported yet: %s", action, instead)
	case path == "*":
		return errAt(offset, "writing to all users' terminals (%s) is not supported yet: %s", action, instead)
	default:
		return errAt(offset, "action %q (users' terminals?) is not supported yet: %s", action, instead)
	}
	if i := strings.IndexByte(path, ';'); i >= 0 {
		return errAt(offset+len(action)-len(path)+i, "options after the file (%s) are not supported yet: remove them", path[i:])
	}
	if strings.HasSuffix(path, "/") {
		return errAt(offset, "%q is a directory: name a file in it", path)
	}
	r.Path = path
	if path == KernelLog {
		r.Kind, r.Sync = Kernel, false
	}
	return nil
}
