package syslogconf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

const (
	// DefaultConfig is the file that is read when nothing else is said.
	DefaultConfig = "/etc/devlogd.conf"
	// DefaultMessages is where messages go without any configuration.
	DefaultMessages = "/var/log/messages"
	// maxConfig is far more than anybody writes, in bytes: what is bigger is
	// not a configuration file.
	maxConfig = 1 << 20
)

// Default returns the rules to be used without any configuration: everything
// to the file messages, what is critical to the kernel's log as well.
func Default(messages string) []string {
	return []string{"*.* -" + messages, "*.crit " + KernelLog}
}

// Load returns the rules that are in force: those given as text and those of
// the file config ("" for none); if neither is given, those of DefaultConfig;
// if that does not exist or has comments only, as it is installed,
// Default(messages). It only reads.
func Load(config string, rules []string, messages string) ([]Rule, error) {
	if config == "" && len(rules) == 0 {
		list, err := ReadFile(DefaultConfig)
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNoRule) {
			return list, err
		}
		rules = Default(messages)
	}
	var list []Rule
	for _, text := range rules {
		rule, err := ParseRule(text)
		if err != nil {
			return nil, err
		}
		list = append(list, rule)
	}
	if config != "" {
		more, err := ReadFile(config)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	return list, nil
}

// errNoRule is a file without any rule. One that was named is a mistake.
var errNoRule = errors.New("no rule in it: expected SELECTOR ACTION, such as *.info " + DefaultMessages)

// Configured reports whether DefaultConfig is what Load takes the rules from if
// nothing else is said.
func Configured() bool {
	_, err := ReadFile(DefaultConfig)
	return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNoRule)
}

// ReadFile reads the rules of a file of at most 1 MiB.
func ReadFile(path string) ([]Rule, error) {
	info, err := os.Stat(path) // opening a FIFO would wait for a writer
	if err != nil {
		return nil, fmt.Errorf("read the rules: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read the rules: %s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the rules: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read the rules: %w", err)
	}
	if len(data) > maxConfig {
		return nil, fmt.Errorf("read the rules: %s is larger than 1 MiB", path)
	}
	return Parse(path, data)
}

// Parse reads the text of a file called name: a rule a line, comments from a
// '#' at the start of a line, and lines continued by a '\' at their end.
func Parse(name string, data []byte) ([]Rule, error) {
	var rules []Rule
	lines := strings.Split(string(data), "\n")
	for i := 0; i < len(lines); {
		text, parts := joinLines(lines[i:], i+1)
		i += len(parts)
		if t := strings.TrimLeft(text, blanks); t == "" || t[0] == '#' {
			continue
		}
		rule, err := parseRule(text)
		if err != nil {
			offset := 0
			var at *ruleError
			if errors.As(err, &at) {
				offset = at.offset
			}
			line, column := locate(parts, offset)
			return nil, fmt.Errorf("%s:%d:%d: %w", name, line, column, err)
		}
		rules = append(rules, rule)
	}
	if len(rules) == 0 {
		return nil, fmt.Errorf("%s: %w", name, errNoRule)
	}
	return rules, nil
}

// linePart says where a piece of a continued line came from.
type linePart struct{ offset, line, skipped int }

// joinLines returns the first of lines with those that continue it. A
// continuing line's leading blanks are dropped (sysklogd).
func joinLines(lines []string, number int) (string, []linePart) {
	var text strings.Builder
	var parts []linePart
	for i, line := range lines {
		line = strings.TrimSuffix(line, "\r")
		part := linePart{offset: text.Len(), line: number + i}
		if i > 0 {
			trimmed := strings.TrimLeft(line, blanks)
			part.skipped, line = len(line)-len(trimmed), trimmed
		}
		parts = append(parts, part)
		comment := i == 0 && strings.HasPrefix(strings.TrimLeft(line, blanks), "#")
		if before, more := strings.CutSuffix(line, `\`); more && !comment {
			text.WriteString(before)
			continue
		}
		text.WriteString(line)
		break
	}
	return text.String(), parts
}

// locate returns the line and column, from 1, of an offset in a joined line.
func locate(parts []linePart, offset int) (line, column int) {
	p := parts[0]
	for _, next := range parts[1:] {
		if next.offset > offset {
			break
		}
		p = next
	}
	return p.line, offset - p.offset + p.skipped + 1
}
