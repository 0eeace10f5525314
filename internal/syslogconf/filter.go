package syslogconf

import (
	"bytes"
	"strings"

	"devlog/internal/syslog"
)

// property is a part of a message that a filter compares.
type property uint8

const (
	programName property = iota
	msg
	msgID
	structuredData
	hostName
)

// propertyNames are the names of syslog.conf(5). String uses the first of each.
var propertyNames = map[string]property{
	"programname": programName, "msg": msg, "msgid": msgID, "sd": structuredData, "data": structuredData,
	"hostname": hostName, "source": hostName,
}

var propertyTexts = [...]string{"programname", "msg", "msgid", "sd", "hostname"}

// operator is how a filter compares it.
type operator uint8

const (
	isEqual operator = iota
	contains
	startsWith
)

var operatorTexts = [...]string{"isequal", "contains", "startswith"}

// filter selects messages of which a property matches one of the values.
type filter struct {
	kind     block
	property property
	operator operator
	not      bool // none of them
	values   []string
}

// block is a kind of filter. A rule may have one filter of each kind.
type block uint8

const (
	programBlock  block = iota // !PROGRAM
	propertyBlock              // :PROPERTY, OPERATOR, "VALUE"

	numBlocks = iota
)

// blocks are the filters for the following rules; nil for none.
type blocks [numBlocks]*filter

func (b *blocks) list() (list []filter) {
	for _, f := range b {
		if f != nil {
			list = append(list, *f)
		}
	}
	return list
}

// match returns whether the message from this host passes.
func (f *filter) match(m *syslog.Message, host []byte) bool {
	return f.compare(f.part(m, host)) != f.not
}

func (f *filter) part(m *syslog.Message, host []byte) []byte {
	switch f.property {
	case programName:
		return m.Tag
	case msg:
		return m.Text
	case msgID:
		return m.MsgID
	case structuredData:
		return m.SD
	}
	return host
}

func (f *filter) compare(part []byte) bool {
	for _, v := range f.values {
		if f.compareOne(part, v) {
			return true
		}
	}
	// A program may name its part, as in postfix/smtpd: both names match.
	if i := bytes.IndexByte(part, '/'); i > 0 && f.property == programName && f.operator == isEqual {
		return f.compare(part[:i])
	}
	return false
}

func (f *filter) compareOne(part []byte, value string) bool {
	switch f.operator {
	case isEqual:
		return string(part) == value
	case startsWith:
		return len(part) >= len(value) && string(part[:len(value)]) == value
	}
	for i := 0; i+len(value) <= len(part); i++ {
		if string(part[i:i+len(value)]) == value {
			return true
		}
	}
	return false
}

// String returns the filter as it is written.
func (f *filter) String() string {
	sign := ""
	if f.not {
		sign = "-"
	}
	if f.kind == programBlock {
		return "!" + sign + strings.Join(f.values, ",")
	}
	text := ":" + propertyTexts[f.property] + ", "
	if f.not {
		text += "!"
	}
	escaped := strings.ReplaceAll(strings.ReplaceAll(f.values[0], `\`, `\\`), `"`, `\"`)
	return text + operatorTexts[f.operator] + `, "` + escaped + `"`
}

// parse reads the filters from start. Each replaces an earlier one of its kind. It returns the
// offset after them.
func (b *blocks) parse(text string, start int) (end int, err error) {
	for start < len(text) {
		var f *filter
		var kind block
		switch text[start] {
		case '!':
			kind = programBlock
			f, end, err = parsePrograms(text, start+1)
		case '+', '-':
			if text[start] == '-' && beginsAction(text[start+1:]) {
				return start, nil
			}
			return 0, errAt(start, "filters by host (+HOST, -HOST) are not supported: all messages are this host's")
		case ':':
			kind = propertyBlock
			if startsWall(text[start:]) {
				return start, nil
			}
			f, end, err = parseProperty(text, start+1)
		default:
			return start, nil
		}
		if err != nil {
			return 0, err
		}
		b[kind] = f
		start = skipBlanks(text, end)
	}
	return start, nil
}

// beginsAction returns whether a file or a pipe follows a '-', and not a host name.
func beginsAction(text string) bool {
	return strings.HasPrefix(text, "/") || strings.HasPrefix(text, "|")
}

// parsePrograms reads "[+|-]NAME[,NAME...]". "*" or nothing ends the filter.
func parsePrograms(text string, start int) (f *filter, end int, err error) {
	f = &filter{kind: programBlock, property: programName}
	start = skipBlanks(text, start)
	if start < len(text) && (text[start] == '+' || text[start] == '-') {
		f.not = text[start] == '-'
		start = skipBlanks(text, start+1)
	}
	end = len(text)
	if i := strings.IndexAny(text[start:], blanks); i >= 0 {
		end = start + i
	}
	names := text[start:end]
	if names == "*" || names == "" {
		return nil, end, nil
	}
	for name := range strings.SplitSeq(names, ",") {
		if name == "" || strings.IndexByte("+-*", name[0]) >= 0 {
			return nil, 0, errAt(start, "expected names joined by ',', found %q", names)
		}
		f.values = append(f.values, name)
		start += len(name) + 1
	}
	return f, end, nil
}

// parseProperty reads `PROPERTY, OPERATOR, "VALUE"`. "*" ends the filter.
func parseProperty(text string, start int) (f *filter, end int, err error) {
	f = &filter{kind: propertyBlock}
	at := skipBlanks(text, start)
	if at == len(text) || text[at] == '*' {
		return nil, min(at+1, len(text)), nil
	}
	name, next := filterWord(text, at)
	p, ok := propertyNames[strings.ToLower(name)]
	if !ok {
		return nil, 0, errAt(at, "unknown property %q: expected programname, msg, msgid, sd or hostname", name)
	}
	f.property = p
	name, end = filterWord(text, next)
	rest := strings.ToLower(name)
	rest, f.not = strings.CutPrefix(rest, "!")
	switch rest {
	case "isequal":
		f.operator = isEqual
	case "contains":
		f.operator = contains
	case "startswith":
		f.operator = startsWith
	case "regex", "ereregex", "eregex":
		return nil, 0, errAt(next, "regular expressions (%s) are not supported: use contains, isequal or startswith", name)
	default:
		return nil, 0, errAt(next, "unknown operator %q: expected contains, isequal or startswith, with or without ! before it", name)
	}
	if end == len(text) || text[end] != '"' {
		return nil, 0, errAt(end, "expected a value in double quotes")
	}
	value, end, ok := unquote(text, end+1)
	if !ok {
		return nil, 0, errAt(len(text), "expected a double quote after the value")
	}
	f.values = []string{value}
	return f, end, nil
}

// filterWord returns the word at start, up to a ',', and the offset after that.
func filterWord(text string, start int) (word string, next int) {
	end := start
	for end < len(text) && strings.IndexByte(", \t\"", text[end]) < 0 {
		end++
	}
	next = end
	for next < len(text) && strings.IndexByte(", \t", text[next]) >= 0 {
		next++
	}
	return text[start:end], next
}

// unquote reads up to the closing quote. '\' escapes the next byte.
func unquote(text string, start int) (value string, end int, ok bool) {
	var b strings.Builder
	for i := start; i < len(text); i++ {
		switch text[i] {
		case '"':
			return b.String(), i + 1, true
		case '\\':
			if i++; i == len(text) {
				return "", i, false
			}
		}
		b.WriteByte(text[i])
	}
	return "", len(text), false
}

// startsWall returns whether rsyslog's action for the users' terminals begins there.
func startsWall(text string) bool { return strings.HasPrefix(text, ":omusrmsg:") }
