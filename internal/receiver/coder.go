package receiver

import (
	"strconv"
	"strings"
	"time"
)

// coder writes values as the words of a line, or reads them from one. The same
// function does both: what is written can be read. A word that is missing, or
// that is not what is expected, leaves its value as it is: another version wrote it.
type coder struct {
	out     []byte // what is written
	in      string // what is left to read
	reading bool
}

// word returns what is between two blanks.
func (c *coder) word() string {
	var w string
	w, c.in, _ = strings.Cut(c.in, " ")
	return w
}

func (c *coder) number(p *uint64) {
	if !c.reading {
		c.out = strconv.AppendUint(append(c.out, ' '), *p, 10)
		return
	}
	if n, err := strconv.ParseUint(c.word(), 10, 64); err == nil {
		*p = n
	}
}

func (c *coder) int64(p *int64) {
	if !c.reading {
		c.out = strconv.AppendInt(append(c.out, ' '), *p, 10)
		return
	}
	if n, err := strconv.ParseInt(c.word(), 10, 64); err == nil {
		*p = n
	}
}

func (c *coder) int(p *int) {
	n := int64(*p)
	c.int64(&n)
	*p = int(n)
}

func (c *coder) duration(p *time.Duration) {
	n := int64(*p)
	c.int64(&n)
	*p = time.Duration(n)
}

// time is of the wall clock: the other one has no zero that is known.
func (c *coder) time(p *time.Time) {
	n := int64(0)
	if !p.IsZero() {
		n = p.UnixNano()
	}
	c.int64(&n)
	if *p = (time.Time{}); n != 0 {
		*p = time.Unix(0, n)
	}
}

func (c *coder) bool(p *bool) {
	n := uint64(0)
	if *p {
		n = 1
	}
	c.number(&n)
	*p = n == 1
}

func (c *coder) text(p *string) {
	if !c.reading {
		c.out = strconv.AppendQuote(append(c.out, ' '), *p)
		return
	}
	quoted, err := strconv.QuotedPrefix(c.in)
	if err != nil {
		c.word()
		return
	}
	c.in = strings.TrimPrefix(c.in[len(quoted):], " ")
	if text, err := strconv.Unquote(quoted); err == nil {
		*p = text
	}
}

func (c *coder) bytes(p *[]byte) {
	text := string(*p)
	c.text(&text)
	*p = []byte(text)
}
