package syslogconf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// WrongLines are the errors of several lines.
type WrongLines []error

// Error returns the first error, and how many more there are.
func (w WrongLines) Error() string {
	if len(w) == 1 {
		return w[0].Error()
	}
	return fmt.Sprintf("%v (and %d more wrong lines)", w[0], len(w)-1)
}

// Unwrap returns all of them.
func (w WrongLines) Unwrap() []error { return w }

// parser reads configurations.
type parser struct {
	rules []Rule
	wrong WrongLines
	files map[string]bool // that were read
	depth int             // of the inclusion
	// included are the directories of included files.
	included []string

	rotation Rotation // for rules that do not set it
	counted  bool     // rotation.Count was given
}

// parse reads the text of the file called name: one rule or setting a line, filters for the
// rules after them, comments that begin a line with '#', and lines continued by a '\' at their
// end.
func (p *parser) parse(name string, data []byte) {
	var filters blocks // a file begins without filters
	lines := strings.Split(string(data), "\n")
	for i := 0; i < len(lines); {
		text, parts := joinLines(lines[i:], i+1)
		i += len(parts)
		if err := p.line(name, text, parts[0].line, &filters); err != nil {
			var wrong WrongLines
			if errors.As(err, &wrong) { // of an included file
				p.wrong = append(p.wrong, wrong...)
				continue
			}
			offset := 0
			var at *ruleError
			if errors.As(err, &at) {
				offset = at.offset
			}
			line, column := locate(parts, offset)
			p.wrong = append(p.wrong, fmt.Errorf("%s:%d:%d: %w", name, line, column, err))
		}
	}
}

// line reads one line, already joined with its continuations.
func (p *parser) line(name, text string, number int, filters *blocks) error {
	text = strings.TrimRight(text, blanks)
	start := skipBlanks(text, 0)
	if i := strings.IndexAny(text, "\n\r\x00"); i >= 0 {
		return errAt(i, "a control character: expected text")
	}
	if start == len(text) || text[start] == '#' {
		return nil
	}
	text = cutComment(text)
	if done, err := p.setting(text, start); done || err != nil {
		return err
	}
	with := *filters
	end, err := with.parse(text, start)
	if err != nil {
		return err
	}
	if end == len(text) { // for all rules that follow
		*filters = with
		return nil
	}
	rule := Rule{filters: with.list(), where: name + ":" + strconv.Itoa(number)}
	if err := rule.parse(text, end, end > start); err != nil {
		return err
	}
	p.rules = append(p.rules, rule)
	return nil
}

// setting reads "NAME VALUE" or "NAME=VALUE", and returns whether it was a setting.
func (p *parser) setting(text string, start int) (done bool, err error) {
	end := start
	for end < len(text) && (text[end] >= 'a' && text[end] <= 'z' || text[end] == '_') {
		end++
	}
	name := text[start:end]
	if end < len(text) && strings.IndexByte(" \t=", text[end]) < 0 {
		return false, nil
	}
	at := skipBlanks(text, end)
	if at < len(text) && text[at] == '=' {
		at = skipBlanks(text, at+1)
	}
	value := text[at:]
	switch name {
	case "include":
		return true, p.include(value, at)
	case "rotate_size":
		p.rotation.Size, err = parseSize(value)
	case "rotate_count":
		p.rotation.Count, err = parseCount(value)
		p.counted = true
	case "secure_mode", "listen", "udp_size":
		// These concern the network, from which nothing is received here.
	case "notify":
		return true, errAt(start, "notify (a program to run after a rotation) is not supported: remove the line")
	default:
		return false, nil
	}
	if err != nil {
		err = errAt(at, "%w", err)
	}
	return true, err
}

// include reads the files that match a pattern. A pattern without files is not an error, as in
// sysklogd. But if it names a directory, as in FreeBSD, its user expects the files in it to be
// read.
func (p *parser) include(pattern string, offset int) error {
	switch {
	case p.depth > 0:
		return errAt(offset, "an included file cannot include others")
	case !filepath.IsAbs(pattern):
		return errAt(offset, "expected an absolute path of files to include, such as %s, found %q", DefaultConfigs, pattern)
	}
	const instead = "to include the files of a directory, name them, such as "
	if st, err := os.Stat(pattern); err == nil && st.IsDir() {
		return errAt(offset, "%s is a directory: %s%s", pattern, instead, filepath.Join(pattern, "*.conf"))
	} else if err != nil && !strings.ContainsAny(pattern, "*?[") && filepath.Ext(pattern) != ".conf" {
		return errAt(offset, "cannot read %s: %w; %s%s", pattern, errors.Unwrap(err), instead, filepath.Join(pattern, "*.conf"))
	}
	p.included = append(p.included, filepath.Dir(pattern))
	p.depth++
	defer func() { p.depth-- }()
	if err := p.readAll(pattern); err != nil {
		return errAt(offset, "%w", err)
	}
	return nil
}

// finish completes the rules with the settings.
func (p *parser) finish(err error, name string) ([]Rule, error) {
	switch {
	case err != nil:
		return nil, err
	case len(p.wrong) > 0:
		return nil, p.wrong
	case len(p.rules) == 0:
		return nil, errNoRule(name)
	}
	if !p.counted {
		p.rotation.Count = defaultCount
	}
	places := map[string]*Rule{}
	for i := range p.rules {
		r := &p.rules[i]
		if r.Kind == File {
			r.inherit(p.rotation)
		}
		place := r.Place()
		first := places[place]
		if first == nil {
			places[place] = r
		} else if !first.sameOptions(r) {
			return nil, fmt.Errorf("%s: %s is written to by another rule (%s) with other options: give both the same", r.Origin(), place, first.Origin())
		}
	}
	return p.rules, nil
}

// inherit sets what the rule itself does not set from the settings.
func (r *Rule) inherit(settings Rotation) {
	if !r.sizeGiven {
		r.Rotation.Size = settings.Size
	}
	if r.Rotation.Size == 0 {
		r.Rotation.Count = 0
	} else if !r.countGiven {
		r.Rotation.Count = settings.Count
	}
}

// sameOptions returns whether two rules write to a place in the same way. Sync may differ: it
// applies to each message.
func (r *Rule) sameOptions(o *Rule) bool {
	return r.Kind == o.Kind && r.Format == o.Format && r.Rotation == o.Rotation && r.Sender == o.Sender
}
