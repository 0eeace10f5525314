// Package syslogconf owns the rule: which messages go where, in the language of
// syslog.conf(5). sysklogd 2's manual is the reference.
package syslogconf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"devlog/internal/syslog"
)

// KernelLog is the path that means the kernel's log in an action.
const KernelLog = "/dev/kmsg"

// Rule says which messages go to one place.
type Rule struct {
	Action

	selector string
	match    [syslog.NumFacilities]uint8 // a bit for each severity
	filters  []filter                    // a message must pass all of them
	where    string                      // "FILE:LINE", or empty
	// sizeGiven and countGiven say which parts of Rotation the rule itself sets.
	sizeGiven, countGiven bool
}

// Match returns whether a message from this host goes there.
func (r *Rule) Match(m *syslog.Message, host []byte) bool {
	return r.selects(m.Facility, m.Severity) && (r.filters == nil || r.passes(m, host))
}

func (r *Rule) selects(f syslog.Facility, s syslog.Severity) bool {
	return int(f) < len(r.match) && r.match[f]&(1<<s) != 0
}

// passes returns whether a message passes the filters.
func (r *Rule) passes(m *syslog.Message, host []byte) bool {
	for i := range r.filters {
		if !r.filters[i].match(m, host) {
			return false
		}
	}
	return true
}

// String returns the rule as it is written.
func (r Rule) String() string {
	var b strings.Builder
	for _, f := range r.filters {
		b.WriteString(f.String() + " ")
	}
	b.WriteString(r.selector + " " + r.action())
	return b.String()
}

// Origin returns where the rule is written: "FILE:LINE", or the rule itself.
func (r Rule) Origin() string {
	if r.where != "" {
		return r.where
	}
	return "rule " + strconv.Quote(r.String())
}

// ruleError is an error at an offset in a rule's text.
type ruleError struct {
	offset int
	error
}

func (e *ruleError) Unwrap() error { return e.error }

func errAt(offset int, format string, args ...any) error {
	return &ruleError{offset, fmt.Errorf(format, args...)}
}

const blanks = " \t"

// ParseRule reads one rule, "[FILTER...] SELECTOR ACTION [;OPTION,...]". The error gives the
// column and what was expected there.
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

// parseRule reads "[FILTER...] [SELECTOR] ACTION". Without a selector, as rsyslog writes a
// rule after a filter, it selects everything.
func parseRule(text string) (Rule, error) {
	text = cutComment(strings.TrimRight(text, blanks))
	if i := strings.IndexAny(text, "\n\r\x00"); i >= 0 {
		return Rule{}, errAt(i, "a rule is one line: give each rule by itself")
	}
	var given blocks
	start, err := given.parse(text, skipBlanks(text, 0))
	if err != nil {
		return Rule{}, err
	}
	if start == len(text) {
		return Rule{}, errAt(start, "expected a rule, SELECTOR ACTION, such as *.info /var/log/messages")
	}
	r := Rule{filters: given.list()}
	return r, r.parse(text, start, len(r.filters) > 0)
}

// parse reads "SELECTOR ACTION" from start. With bare, an action may stand alone.
func (r *Rule) parse(text string, start int, bare bool) error {
	if bare && startsAction(text[start:]) {
		r.selector = "*.*"
		if err := r.addSelector(r.selector, 0); err != nil {
			return err
		}
		return r.setAction(text, start)
	}
	if why := notSelector(text[start:]); why != "" {
		return errAt(start, "%s", why)
	}
	length := strings.IndexAny(text[start:], blanks)
	if length < 0 {
		return errAt(len(text), "expected an action after the selector, such as /var/log/messages")
	}
	end := start + length
	r.selector = text[start:end]
	at := skipBlanks(text, end)
	if goesOn(r.selector, text[at:]) {
		return errAt(end, "a blank ends the selectors: write them without blanks, such as *.info;mail.none")
	}
	for offset := start; offset <= end; {
		length := selectorLength(text[offset:end])
		// A ';' at the end is common and harmless.
		if length > 0 || offset == start || offset < end {
			if err := r.addSelector(text[offset:offset+length], offset); err != nil {
				return err
			}
		}
		offset += length + 1
	}
	return r.setAction(text, at)
}

// goesOn returns whether another selector follows, joined by a ';' or ',' with a blank beside
// it.
func goesOn(selector, rest string) bool {
	word, _, _ := strings.Cut(rest, " ")
	word, _, _ = strings.Cut(word, "\t")
	joined := strings.HasSuffix(selector, ";") || strings.HasSuffix(selector, ",") || strings.HasPrefix(word, ";") || strings.HasPrefix(word, ",")
	return joined && word != "" && !startsAction(word) && (strings.Contains(word, ".") || !strings.Contains(selector, "."))
}

// cutComment returns the text without a comment at its end. '#' after a blank begins a
// comment, except within the quotes of a filter's value.
func cutComment(text string) string {
	quoted := false
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == '#' && !quoted && strings.IndexByte(blanks, text[i-1]) >= 0:
			return strings.TrimRight(text[:i], blanks)
		}
	}
	return text
}

// SelectsNothing returns whether the selectors leave no message.
func (r *Rule) SelectsNothing() bool {
	for _, bits := range r.match {
		if bits != 0 {
			return false
		}
	}
	return true
}

// selectorLength returns the length of the first of several selectors. They are joined by ';'
// or, after a severity, by ',' (BSD).
func selectorLength(text string) int {
	dot := strings.IndexByte(text, '.')
	if end := strings.IndexByte(text, ';'); dot < 0 || end >= 0 && end < dot {
		dot = 0
	}
	separators := ";,"
	if dot == 0 {
		separators = ";"
	}
	if length := strings.IndexAny(text[dot:], separators); length >= 0 {
		return dot + length
	}
	return len(text)
}

func skipBlanks(text string, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\t') {
		i++
	}
	return i
}

// addSelector applies "fac[,fac...].[!][=]sev" to what the selectors before it selected.
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
	if bits == 0 { // "none"
		remove, bits = !remove, 0xff
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
		} else if n, err := strconv.ParseUint(name, 10, 8); err == nil && n < syslog.NumFacilities {
			bits |= 1 << n
		} else if strings.EqualFold(name, "mark") { // no mark messages are made here
			continue
		} else if f, ok := syslog.ParseFacility(strings.ToLower(name)); ok {
			bits |= 1 << f
		} else {
			return 0, errAt(offset, "unknown facility %q: expected * or one of auth authpriv console cron daemon ftp kern lpr mail news ntp security syslog user uucp local0 to local7, or 0 to 23", name)
		}
		offset += len(name) + 1
	}
	return bits, nil
}

// severityBits returns a bit for each severity that the name selects; none is 0.
func severityBits(name string, only bool, offset int) (uint8, error) {
	switch name = strings.ToLower(name); name {
	case "*":
		return 0xff, nil
	case "none":
		return 0, nil
	}
	s, ok := syslog.ParseSeverity(name)
	if len(name) == 1 && name[0] >= '0' && name[0] <= '7' {
		s, ok = syslog.Severity(name[0]-'0'), true
	}
	if !ok {
		return 0, errAt(offset, "unknown severity %q: expected * or one of emerg alert crit err warning notice info debug none, or 0 to 7", name)
	}
	if only {
		return 1 << s, nil
	}
	return uint8(1<<(s+1) - 1), nil
}
