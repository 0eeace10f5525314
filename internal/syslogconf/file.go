package syslogconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"devlog/internal/file"
)

const (
	// DefaultConfig is the file that is read without --config.
	DefaultConfig = "/etc/devlogd.conf"
	// DefaultConfigs are read after DefaultConfig, in the order of their names.
	DefaultConfigs = "/etc/devlogd.d/*.conf"
	// DefaultMessages is where messages go without a configuration.
	DefaultMessages = "/var/log/messages"
	// LogsDir is where receivers on the host write the logs of containers, each in a directory
	// with its name. A container may have that directory mounted.
	LogsDir = "/var/log/devlog"
	// maxConfig is the largest configuration file, in bytes, far larger than any real one.
	maxConfig = 1 << 20
)

// Default returns the rules without a configuration: everything goes to the file messages, and
// critical messages to the kernel's log too.
func Default(messages string) []string {
	return []string{"*.* -" + messages, "*.crit " + KernelLog}
}

// hasDefault returns whether DefaultConfig or one of DefaultConfigs exists.
func hasDefault() bool {
	if _, err := os.Stat(DefaultConfig); err == nil {
		return true
	}
	paths, err := matches(DefaultConfigs)
	return err == nil && len(paths) > 0
}

// Configured returns whether these files have rules. As installed they have only comments.
func Configured() bool {
	if !hasDefault() {
		return false
	}
	p := parser{files: map[string]bool{}}
	return p.readDefaults() != nil || p.decides()
}

// decides returns whether a rule was read, even an invalid one.
func (p *parser) decides() bool { return len(p.rules)+len(p.wrong) > 0 }

// InFull returns the file and the rules that Load would use, for a program that must use
// exactly those. isDefault says whether the rules are Default(messages).
func InFull(config string, rules []string, messages string) (inConfig string, inRules []string, isDefault bool, err error) {
	if config != "" || len(rules) > 0 {
		_, err := Load(config, rules, messages)
		return config, rules, false, err
	}
	if hasDefault() {
		config = DefaultConfig
		p := parser{files: map[string]bool{}}
		if err := p.readDefaults(); err != nil || p.decides() {
			_, err = p.finish(err, config)
			return config, nil, false, err
		}
	}
	return config, Default(messages), true, nil // with the file's settings
}

// Load returns the rules that apply: the given rules and those of the file config ("" for
// none). If neither is given, those of DefaultConfig and DefaultConfigs, each of which may be
// missing. If they have no rules, Default(messages). It only reads.
func Load(config string, rules []string, messages string) ([]Rule, error) {
	loaded, _, err := LoadAll(config, rules, messages)
	return loaded, err
}

// LoadAll is Load, and also returns the directories of included files.
func LoadAll(config string, rules []string, messages string) (loaded []Rule, included []string, err error) {
	p := parser{files: map[string]bool{}}
	loaded, err = p.load(config, rules, messages)
	return loaded, p.included, err
}

func (p *parser) load(config string, rules []string, messages string) ([]Rule, error) {
	if config == "" && len(rules) == 0 {
		if hasDefault() {
			if err := p.readDefaults(); err != nil || p.decides() {
				return p.finish(err, DefaultConfig)
			}
		}
		rules = Default(messages) // with the settings that were read
	}
	for _, text := range rules {
		rule, err := ParseRule(text)
		if err != nil {
			p.wrong = append(p.wrong, err)
		}
		p.rules = append(p.rules, rule)
	}
	if config == "" {
		return p.finish(nil, config)
	}
	if config == DefaultConfig {
		return p.finish(p.readDefaults(), config)
	}
	before := len(p.rules)
	err := p.readFile(config)
	if err == nil && len(p.rules) == before && len(p.wrong) == 0 {
		err = errNoRule(config)
	}
	return p.finish(err, config)
}

// readDefaults reads DefaultConfig and then DefaultConfigs.
func (p *parser) readDefaults() error {
	err := p.readFile(DefaultConfig)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := p.readAll(DefaultConfigs); err != nil {
		return err
	}
	if len(p.files) == 0 {
		return err
	}
	return nil
}

// readAll reads the files that match a pattern, in the order of their names.
func (p *parser) readAll(pattern string) error {
	paths, err := matches(pattern)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := p.readFile(path); err != nil {
			return err
		}
	}
	return nil
}

// matches returns the files that match a pattern, without hidden files: editors and package
// managers leave those.
func matches(pattern string) ([]string, error) {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return nil, fmt.Errorf("bad pattern %q: %w", pattern, err)
	}
	if len(paths) == 0 { // Glob does not report that it may not look there
		dir, err := os.Open(filepath.Dir(pattern))
		if errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("cannot look for %s: %w", pattern, err)
		} else if err == nil {
			_ = dir.Close() // it was only opened as a test
		}
	}
	return slices.DeleteFunc(paths, func(path string) bool { return strings.HasPrefix(filepath.Base(path), ".") }), nil
}

// readFile reads a file of at most 1 MiB, unless it was read already.
func (p *parser) readFile(path string) error {
	if p.files[path] {
		return nil
	}
	data, err := file.Read(path, maxConfig)
	if err != nil {
		return fmt.Errorf("cannot read the rules: %w", err)
	}
	p.files[path] = true
	p.parse(path, data)
	return nil
}

func errNoRule(name string) error {
	return fmt.Errorf("%s: no rule in it: expected SELECTOR ACTION, such as *.info %s", name, DefaultMessages)
}

// linePart is where a part of a continued line came from.
type linePart struct{ offset, line, skipped int }

// joinLines returns the first of the lines, joined with those that continue it. It drops
// leading blanks of a continuing line, as sysklogd does.
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
