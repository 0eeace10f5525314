package syslogconf

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"devlog/internal/syslog"
)

// setOptions reads "OPTION[,OPTION...]". start is the list's offset in the line. Empty options
// are common and harmless.
func (r *Rule) setOptions(list string, start int) error {
	for offset := 0; offset < len(list); {
		end := strings.IndexAny(list[offset:], ",;")
		if end < 0 {
			end = len(list)
		} else {
			end += offset
		}
		if name := strings.Trim(list[offset:end], blanks); name != "" {
			if err := r.setOption(name, start+skipBlanks(list, offset)); err != nil {
				return err
			}
		}
		offset = end + 1
	}
	return nil
}

func (r *Rule) setOption(option string, offset int) error {
	name, value, hasValue := strings.Cut(option, "=")
	name = strings.ToLower(name)
	for l := range syslog.Layout(syslog.NumLayouts) {
		if name == strings.ToLower(l.String()) && !hasValue {
			switch {
			case r.Kind == Kernel && l != syslog.RFC3164:
				return errAt(offset, "option %s: the kernel's log has a format of its own: remove the option", option)
			case r.Kind == Journal:
				return errAt(offset, "option %s: the journal has fields of its own: remove the option", option)
			case r.Kind == Syslog && l == syslog.JSON:
				return errAt(offset, "option %s: a syslog daemon reads RFC3164 or RFC5424: use one of these", option)
			}
			r.Format = l
			return nil
		}
	}
	switch {
	case name == "rotate" && hasValue, name == "gzip" && !hasValue:
		if r.Kind != File {
			return errAt(offset, "option %s: only a file is rotated: remove the option", option)
		}
		if !hasValue {
			r.Rotation.Gzip = true
			return nil
		}
		return r.setRotation(value, offset+len("rotate="))
	case name == "sender" && !hasValue:
		r.Sender = true
		return nil
	case name == "iface" && hasValue, name == "ttl" && hasValue:
		return errAt(offset, "option %s is for remote hosts, which are not supported: remove it", option)
	}
	return errAt(offset, "unknown option %q: expected RFC3164, RFC5424, JSON, rotate=SIZE:COUNT, gzip or sender", option)
}

// setRotation reads "SIZE[:COUNT]" or ":COUNT". Missing parts come from the settings.
func (r *Rule) setRotation(value string, offset int) (err error) {
	size, count, hasCount := strings.Cut(value, ":")
	if size == "" && !hasCount {
		return errAt(offset, "expected rotate=SIZE:COUNT, such as rotate=1M:5")
	}
	if size != "" {
		if r.Rotation.Size, err = parseSize(size); err != nil {
			return errAt(offset, "%w", err)
		}
		r.sizeGiven = true
	}
	if hasCount {
		if r.Rotation.Count, err = parseCount(count); err != nil {
			return errAt(offset+len(size)+1, "%w", err)
		}
		r.countGiven = true
	}
	return nil
}

// parseSize reads a number of bytes, or of KiB, MiB or GiB with the suffix k, M or G.
func parseSize(text string) (int64, error) {
	digits, shift := text, 0
	if text != "" {
		if i := strings.IndexByte("kmg", text[len(text)-1]|0x20); i >= 0 {
			digits, shift = text[:len(text)-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 1 || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("size %q: expected a number of bytes, or of k, M or G, such as 10M", text)
	}
	return n << shift, nil
}

func parseCount(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > maxCount {
		return 0, fmt.Errorf("count %q: expected a number of old files from 0 to %d", text, maxCount)
	}
	return n, nil
}
