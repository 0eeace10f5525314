package report

import (
	"bytes"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ECMA-48's SGR, as in console_codes(4).
const (
	red   = "\x1b[31m"
	green = "\x1b[32m"
	reset = "\x1b[0m"
)

// marks are what gets a color: the word, where it follows that beginning of a line.
var marks = []struct{ before, word, color string }{
	{"syslog()  ", "works", green}, {"syslog()  ", "broken", red}, {"syslog()  ", "reaches", red},
	{"", "works", green}, {"", "broken", red},
}

// InColors has write write a report to w: with colors if w is a terminal that has them, and
// NO_COLOR (no-color.org) is empty.
func InColors(w io.Writer, write func(io.Writer) error) error {
	if !hasColors(w) {
		return write(w)
	}
	var text bytes.Buffer
	if err := write(&text); err != nil {
		return err
	}
	_, err := io.WriteString(w, colored(text.String()))
	return err
}

func hasColors(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func colored(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		for _, m := range marks {
			if rest, ok := strings.CutPrefix(line, m.before+m.word); ok {
				line = m.before + m.color + m.word + reset + rest
				break
			}
		}
		out.WriteString(line)
	}
	return out.String()
}
