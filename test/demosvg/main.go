// Command demosvg makes a recording of a terminal, as an animated SVG, of what a program has
// printed: from its standard input to its standard output. The same lines give the same
// picture, whenever they were printed.
package main

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"math"
	"os"
	"regexp"
	"strings"
)

const (
	rows    = 26 // of the terminal
	columns = 104
	height  = 17 // of a row, in pixels
	width   = 7.7
	margin  = 14
	step    = 0.35 // seconds from one line to the next
	pause   = 1.5  // more before a line with an empty one in front: it is the next section
	rest    = 8.0  // at the end, before it begins again
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demosvg: cannot draw:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	lines, err := read(in)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, draw(lines))
	return err
}

// clock is what is another each time: the time of a message.
var clock = regexp.MustCompile(`\b[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d\b`)

// read returns the lines, with one time for all messages, and those that are too long broken.
func read(in io.Reader) (lines []string, err error) {
	scanner := bufio.NewScanner(in)
	for scanner.Scan() {
		line := []rune(clock.ReplaceAllString(scanner.Text(), "Nov 28 10:27:03"))
		if len(line) == 0 && len(lines) == 0 {
			continue
		}
		for len(line) > columns {
			lines = append(lines, string(line[:columns]))
			line = append([]rune(strings.Repeat(" ", 13)), line[columns:]...)
		}
		lines = append(lines, string(line))
	}
	return lines, scanner.Err()
}

// The classes of lines: what is typed, what is said about it, and the two outcomes.
var classes = []struct {
	class string
	of    *regexp.Regexp
}{
	{"bad", regexp.MustCompile(`^ *(MISDELIVERED|LOST): `)},
	{"good", regexp.MustCompile(`^ *REPAIRED: `)},
	{"typed", regexp.MustCompile(`^  \S+ +\$ `)},
	{"said", regexp.MustCompile(`^\S`)},
}

// draw returns the picture. Lines appear one after the other; when the terminal is full, all
// move up. Without animation the first rows are shown.
func draw(lines []string) string {
	var times []float64
	now := 0.0
	for i := range lines {
		if i > 0 && lines[i-1] == "" {
			now += pause
		}
		now += step
		times = append(times, now)
	}
	total := now + rest
	percent := func(t float64) float64 { return t / total * 100 }

	var out, moves, texts strings.Builder
	for i, line := range lines {
		if i >= rows {
			fmt.Fprintf(&moves, "%.2f%%{transform:translateY(%dpx)}", percent(times[i]), -(i-rows+1)*height)
		}
		if line == "" {
			continue
		}
		class := "out"
		for _, c := range classes {
			if c.of.MatchString(line) {
				class = c.class
				break
			}
		}
		fmt.Fprintf(&texts, "<text class=\"%s\" y=\"%d\" style=\"animation-delay:%.2fs\">%s</text>\n", class, (i+1)*height, times[i], html.EscapeString(line))
	}
	w, h := int(math.Ceil(columns*width))+2*margin, rows*height+2*margin
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="A recording of make demo">
<style>
svg{background:#16181d;border-radius:6px}
text{font:12.8px ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre;fill:#aab2c0}
.typed{fill:#e6e9ef}.said{fill:#7fb4f0}.bad{fill:#f2777a;font-weight:bold}.good{fill:#8fd18a;font-weight:bold}
@media (prefers-reduced-motion:no-preference){
text{visibility:hidden;animation:show %.2fs step-end forwards}
g{animation:move %.2fs step-end forwards}
}
@keyframes show{0%%,100%%{visibility:visible}}
@keyframes move{0%%{transform:translateY(0)}%s100%%{transform:translateY(%dpx)}}
</style>
<svg x="%d" y="%d" width="%d" height="%d"><g xml:space="preserve">
%s</g></svg>
</svg>
`, w, h, w, h, total, total, moves.String(), -max(0, len(lines)-rows)*height, margin, margin, w-2*margin, rows*height+4, texts.String())
	return out.String()
}
