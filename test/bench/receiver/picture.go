package main

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// panel is a part of the picture: bars, compared with the limit.
type panel struct {
	title, note string
	quantity    string
	groups      []group
	top         float64 // the end of the axis; a longer bar is cut there
}

// group is the bars of one load, with the target if it is not 0.
type group struct {
	load, title string
	target      float64
}

var panels = []panel{
	{"Messages a second", "times the limit: longer is better", rate, []group{
		{"one", "1 sender, 120 bytes", 0.90}, {"eight", "8 senders, 120 bytes", 0.85}, {"long", "1 sender, 1 KiB", 0.95}}, 1.25},
	{"Processor time a message", "times the limit: shorter is better", cpu, []group{
		{"one", "flood, 1 sender", 1.3}, {"4000/s", "4,000 messages/s", 2}, {"100/s", "100 messages/s", 4}}, 6},
}

const (
	panelWidth = 440
	nameWidth  = 76 // left of the bars
	barsWidth  = 290
	barHeight  = 16
	barStep    = 20
	groupHead  = 24
	groupGap   = 14
	panelsTop  = 92
)

// draw draws the results: panels side by side, with bars for devlogd and each peer.
func draw(r *results) string {
	names := append([]string{ownName}, r.others()...)
	height := panelsTop + len(panels[0].groups)*(groupHead+len(names)*barStep+groupGap) + 46
	width := len(panels)*panelWidth + 20
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#1f2933">
<title>devlogd beside other syslog daemons</title>
<rect width="%d" height="%d" rx="6" fill="#ffffff"/>
`, width, height, width, height, width, height)
	label(&b, 20, 30, `font-size="17" font-weight="bold"`, "devlogd beside other syslog daemons")
	for i, p := range panels {
		p.draw(&b, r, names, 20+i*panelWidth)
	}
	y := height - 18
	fmt.Fprintf(&b, `<path d="M 20 %d v 14" stroke="#1f2933" stroke-width="1.5"/>`+"\n", y-11)
	label(&b, 28, y, `fill="#52606d"`, "the limit: a program that only receives and writes")
	fmt.Fprintf(&b, `<path d="M 345 %d v 14" stroke="#c2410c" stroke-width="2" stroke-dasharray="3 2"/>`+"\n", y-11)
	label(&b, 353, y, `fill="#52606d"`, "devlogd's target")
	label(&b, width-20, y, `fill="#52606d" text-anchor="end"`, fmt.Sprintf("medians of %d, %s, Linux %s", r.Reps, r.Time.Format("2006-01-02"), r.Machine["kernel"]))
	b.WriteString("</svg>\n")
	return b.String()
}

func (p *panel) draw(b *strings.Builder, r *results, names []string, x int) {
	label(b, x, 58, `font-size="14" font-weight="bold"`, p.title)
	label(b, x, 75, `fill="#52606d"`, p.note)
	left := x + nameWidth
	at := func(v float64) float64 { return float64(left) + min(v, p.top)/p.top*barsWidth }
	y := panelsTop
	for _, g := range p.groups {
		label(b, x, y+14, `font-weight="bold" fill="#3e4c59"`, g.title)
		top := y + groupHead
		bottom := top + len(names)*barStep - (barStep - barHeight)
		for i, name := range names {
			p.bar(b, r, g, name, left, top+i*barStep, at)
		}
		fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#1f2933" stroke-width="1.5"/>`+"\n", at(1), top-3, at(1), bottom+3)
		// The target is for devlogd, which is the first.
		fmt.Fprintf(b, `<path d="M %.1f %d V %d" stroke="#c2410c" stroke-width="2" stroke-dasharray="3 2"/>`+"\n", at(g.target), top-3, top+barHeight+3)
		y = top + len(names)*barStep + groupGap
	}
}

func (p *panel) bar(b *strings.Builder, r *results, g group, name string, left, y int, at func(float64) float64) {
	fill, weight := "#b8c4cf", "normal"
	if name == ownName {
		fill, weight = "#1d6fa5", "bold"
	}
	label(b, left-6, y+12, `text-anchor="end" font-weight="`+weight+`"`, name)
	v, ok := r.ratio(name, g.load, p.quantity)
	if !ok {
		label(b, left+4, y+12, `fill="#52606d"`, "not measured")
		return
	}
	end := at(v)
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="%d" rx="2" fill="%s"/>`+"\n", left, y, end-float64(left), barHeight, fill)
	// Beside the bar, and clear of the lines.
	lines := []float64{at(1)}
	if name == ownName {
		lines = append(lines, at(g.target))
		slices.Sort(lines)
	}
	for _, line := range lines {
		if end < line && line < end+40 {
			end = line
		}
	}
	text := fmt.Sprintf("%.2f", v)
	if v > p.top {
		text += " →"
	}
	label(b, int(end)+6, y+12, `font-weight="`+weight+`"`, text)
}

func label(b *strings.Builder, x, y int, attributes, text string) {
	fmt.Fprintf(b, `<text x="%d" y="%d" %s>%s</text>`+"\n", x, y, attributes, html.EscapeString(text))
}
