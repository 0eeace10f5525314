package syslogconf

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxRate is the largest number of a rate.
const maxRate = 1_000_000

// Rate limits messages: N at once, and N for each Per in the long run. The zero value is no
// limit.
type Rate struct {
	N   int
	Per time.Duration // a second or a minute
}

// ParseRate reads "N", "N/s" or "N/m".
func ParseRate(text string) (Rate, error) {
	number, unit, hasUnit := strings.Cut(text, "/")
	r := Rate{Per: time.Second}
	switch {
	case !hasUnit || unit == "s":
	case unit == "m":
		r.Per = time.Minute
	default:
		return Rate{}, fmt.Errorf("rate %q: want N, N/s or N/m", text)
	}
	var err error
	if r.N, err = strconv.Atoi(number); err != nil || r.N < 1 || r.N > maxRate || number[0] == '+' {
		return Rate{}, fmt.Errorf("rate %q: want a number of messages from 1 to %d", text, maxRate)
	}
	return r, nil
}

// String returns the rate as it is written.
func (r Rate) String() string {
	if r.Per == time.Minute {
		return strconv.Itoa(r.N) + "/m"
	}
	return strconv.Itoa(r.N) + "/s"
}

// Overflow is what to do with messages that exceed a rate.
type Overflow string

// The ways.
const (
	Block Overflow = "block" // do not read them: the sender waits
	Drop  Overflow = "drop"  // count them as lost
)

// ParseOverflow reads "block" or "drop".
func ParseOverflow(text string) (Overflow, error) {
	switch o := Overflow(text); o {
	case Block, Drop:
		return o, nil
	}
	return "", fmt.Errorf("overflow %q: want block or drop", text)
}
