package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// target is one of the aims: a quantity, and what it must be.
type target struct {
	what, want string
	load       string
	quantity   string
	least      float64 // 0 without a lower limit
	most       float64
	over       string // the peer whose figure it is divided by; "" for none
	show       func(float64) string
}

func (r *results) targets() []target {
	return []target{
		{"messages/s: 1 sender, 120 bytes", "≥ 0.90×", "one", rate, 0.90, 0, limitName, thousands},
		{"messages/s: 8 senders", "≥ 0.85×", "eight", rate, 0.85, 0, limitName, thousands},
		{"messages/s: 1 KiB", "≥ 0.80×", "long", rate, 0.80, 0, limitName, thousands},
		{"CPU a message: flood, 1 sender", "≤ 1.3×", "one", cpu, 0, 1.3, limitName, micros},
		{"CPU a message: flood, 8 senders", "≤ 1.3×", "eight", cpu, 0, 1.3, limitName, micros},
		{"CPU a message: flood, 1 KiB", "≤ 1.3×", "long", cpu, 0, 1.3, limitName, micros},
		{"CPU a message: 4,000/s", "≤ 2×", "4000/s", cpu, 0, 2, limitName, micros},
		{"CPU a message: 100/s", "≤ 4×", "100/s", cpu, 0, 4, limitName, micros},
		{"sender p99: flood, 1 sender", "≤ 30 µs", "one", p99, 0, 30, "", micros},
		{"private memory of a further instance", "≤ 1.0 MB", crowded, private, 0, 1024, "", megabytes},
		{fmt.Sprintf("wake-ups in %.0f s, idle", r.IdleSeconds), "0", resting, wakeups, 0, 0, "", whole},
		{"exec to the first message taken", "≤ 1.2× an empty Go program", starting, startTime, 0, 1.2, emptyTool, millis},
	}
}

func thousands(x float64) string { return fmt.Sprintf("%.0fk", x/1e3) }
func micros(x float64) string    { return fmt.Sprintf("%.1f µs", x) }
func millis(x float64) string    { return fmt.Sprintf("%.2f ms", x/1e3) }
func megabytes(x float64) string { return fmt.Sprintf("%.1f MB", x/1024) }
func whole(x float64) string     { return fmt.Sprintf("%.0f", x) }

// value returns the quantity of a peer as measured, and as compared with the target.
func (t *target) value(r *results, peer string) (measured, judged float64, ok bool) {
	get := func(peer string) (float64, bool) { return r.get(peer, t.load, t.quantity) }
	measured, ok = get(peer)
	judged = measured
	if t.over != "" && ok {
		var base float64
		if base, ok = get(t.over); base > 0 {
			judged /= base
		}
	}
	return measured, judged, ok
}

func (t *target) met(judged float64) bool {
	if t.least > 0 {
		return judged >= t.least
	}
	return judged <= t.most
}

func (t *target) cell(r *results, peer string) string {
	measured, judged, ok := t.value(r, peer)
	switch {
	case !ok:
		return ""
	case t.over == "":
		return t.show(measured)
	}
	text := fmt.Sprintf("%.2f× (%s)", judged, t.show(measured))
	if v := r.Values[peer][t.load][cut]; v != nil && v.Max > 0 {
		text += ", cut"
	}
	return text
}

// others returns the peers other than devlogd and the limit.
func (r *results) others() []string {
	return slices.DeleteFunc(slices.Clone(r.Peers), func(p string) bool { return p == ownName || p == limitName })
}

// tables writes all results as Markdown.
func tables(r *results) string {
	var b strings.Builder
	for _, part := range []func(*strings.Builder, *results){writeMachine, writeTargets, writeLoads, writeActions, writeMany, writeService} {
		before := b.Len()
		part(&b, r)
		if b.Len() > before {
			b.WriteByte('\n')
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func writeMachine(b *strings.Builder, r *results) {
	fmt.Fprintf(b, "%s, %s processors %s, Linux %s, Go %s, gcc %s, other programs took %.0f %% of the processors;\nmedians of %d repetitions",
		r.Time.Format("2006-01-02 15:04 MST"), r.Machine["processors"], r.Machine["processor"], r.Machine["kernel"], r.Machine["Go"], r.Machine["gcc"], r.OthersLoad*100, r.Reps)
	if r.Scale != 1 {
		fmt.Fprintf(b, ", %v times the usual number of messages", r.Scale)
	}
	b.WriteByte('.')
	for _, p := range r.Peers {
		if v := r.Versions[p]; v != "" {
			fmt.Fprintf(b, " %s %s.", p, v)
		}
	}
	b.WriteByte('\n')
}

func writeTargets(b *strings.Builder, r *results) {
	rows := [][]string{append([]string{"", "target", ownName, "", limitName}, r.others()...)}
	for _, t := range r.targets() {
		row := []string{t.what, t.want, t.cell(r, ownName), "", t.cell(r, limitName)}
		if _, judged, ok := t.value(r, ownName); ok {
			row[3] = verdict(t.met(judged))
		}
		for _, p := range r.others() {
			row = append(row, t.cell(r, p))
		}
		rows = append(rows, row)
	}
	n := len(rows) - 2 // after memory
	rows = slices.Insert(rows, n, []string{"allocations a message", "0", fmt.Sprint(r.Allocations), verdict(r.Allocations == 0)})
	writeTable(b, rows)
	if x, ok := r.get(emptyTool, starting, startTime); ok {
		fmt.Fprintf(b, "\nThe empty Go program takes %s from exec to its end.\n", millis(x))
	}
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "**not met**"
}

func writeLoads(b *strings.Builder, r *results) {
	rows := [][]string{{"load", "", "messages/s (lowest to highest)", "CPU a message", "send p50", "send p99", "RSS idle, after", "lost, cut, out of order"}}
	for _, l := range allLoads {
		for _, p := range r.Peers {
			q := r.Values[p][l.name]
			if q == nil {
				continue
			}
			rows = append(rows, []string{
				l.name, p, fmt.Sprintf("%.0f (%.0f to %.0f)", q[rate].Median, q[rate].Min, q[rate].Max), fmt.Sprintf("%.2f µs", q[cpu].Median),
				fmt.Sprintf("%.1f µs", q[p50].Median), fmt.Sprintf("%.1f µs", q[p99].Median),
				megabytes(q[rssIdle].Median) + ", " + megabytes(q[rssAfter].Median), fmt.Sprintf("%.0f, %.0f, %.0f", q[lost].Max, q[cut].Max, q[disorder].Max),
			})
		}
	}
	writeTable(b, rows)
}

func writeMany(b *strings.Builder, r *results) {
	rows := [][]string{{fmt.Sprintf("%d receivers at once", r.Receivers)}}
	var names []string
	for _, p := range r.Peers {
		if r.Values[p][crowded] != nil {
			names = append(names, p)
		}
	}
	rows[0] = append(rows[0], names...)
	for _, q := range []struct {
		what, quantity string
		show           func(float64) string
	}{
		{"private memory of each", private, megabytes},
		{"private memory of all", totalPrivate, megabytes},
		{"all memory of all (Pss)", totalPSS, megabytes},
		{fmt.Sprintf("wake-ups of all in %.0f s, idle", r.IdleSeconds/4), wakeups, whole},
		{fmt.Sprintf("CPU of all in %.0f s, idle", r.IdleSeconds/4), idleCPU, func(x float64) string { return fmt.Sprintf("%.1f ms", x) }},
		{"send p99, a message to each in turn", quietP99, micros},
		{"the same beside one that is flooded", besideP99, micros},
		{"send to log p99, a message to each in turn", quietLog, micros},
		{"the same beside one that is flooded", besideLog, micros},
	} {
		row := []string{q.what}
		for _, p := range names {
			x, _ := r.get(p, crowded, q.quantity)
			row = append(row, q.show(x))
		}
		rows = append(rows, row)
	}
	writeTable(b, rows)
}

// writeService writes the results of a host's service with many containers.
func writeService(b *strings.Builder, r *results) {
	if r.Values[serviceName] == nil {
		return
	}
	rows := [][]string{{fmt.Sprintf("%d containers of one service", r.Containers), "target", serviceName, "", crowdTool}}
	add := func(what, want string, met bool, show func(float64) string, of func(peer string) (float64, bool)) {
		row := []string{what, want}
		for _, name := range []string{serviceName, crowdTool} {
			cell := ""
			if x, ok := of(name); ok {
				cell = show(x)
			}
			row = append(row, cell)
		}
		rows = append(rows, slices.Insert(row, 3, verdict(met)))
	}
	quantity := func(load, q string) func(string) (float64, bool) {
		return func(peer string) (float64, bool) { return r.get(peer, load, q) }
	}
	most := func(what string, limit float64, show func(float64) string, of func(peer string) (float64, bool)) {
		x, ok := of(serviceName)
		add(what, "≤ "+show(limit), ok && x <= limit, show, of)
	}
	most("private memory a container", 30, func(x float64) string { return fmt.Sprintf("%.0f kB", x) }, quantity(crowded, private))
	most(fmt.Sprintf("wake-ups in %.0f s, idle", r.IdleSeconds), 2, whole, quantity(crowded, wakeups))
	most(fmt.Sprintf("CPU in %.0f s, idle", r.IdleSeconds), 0, func(x float64) string { return fmt.Sprintf("%.1f ms", x) }, quantity(crowded, idleCPU))
	times := func(x float64) string { return fmt.Sprintf("%.2f×", x) }
	most("send to log p99 beside one that is flooded, of that without", 2, times, func(peer string) (float64, bool) {
		x, ok := r.get(peer, crowded, besideLog)
		y, also := r.get(peer, crowded, quietLog)
		return x / max(y, 0.001), ok && also
	})
	ratio := func(what, want string, load, q string, show func(float64) string, met func(float64) bool) {
		x, _ := r.get(serviceName, load, q)
		y, ok := r.get(crowdTool, load, q)
		judged := x / max(y, 0.001)
		rows = append(rows, []string{what, want, fmt.Sprintf("%.2f× (%s)", judged, show(x)), verdict(ok && met(judged)), show(y)})
	}
	for _, l := range serviceLoads(r.Containers) {
		if l.least > 0 {
			ratio("messages/s: "+l.name, fmt.Sprintf("≥ %.2f×", l.least), l.name, rate, thousands, func(x float64) bool { return x >= l.least })
		} else {
			ratio("CPU a message: "+l.name, fmt.Sprintf("≤ %.1f×", l.most), l.name, cpu, micros, func(x float64) bool { return x <= l.most })
			most("send p99: "+l.name, 50, micros, quantity(l.name, p99))
		}
	}
	writeTable(b, rows)
}

// writeTable writes a table of Markdown with aligned columns.
func writeTable(b *strings.Builder, rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	line := func(cells []string, fill string) {
		for i, w := range width {
			cell := ""
			if i < len(cells) {
				cell = cells[i]
			}
			fmt.Fprintf(b, "|%s%s%s%s", fill, cell, strings.Repeat(fill, w-utf8.RuneCountInString(cell)), fill)
		}
		b.WriteString("|\n")
	}
	line(rows[0], " ")
	line(nil, "-")
	for _, row := range rows[1:] {
		line(row, " ")
	}
}

// The marks around the tables in a document.
const (
	beginMark = "<!-- make bench writes from here -->\n"
	endMark   = "<!-- to here -->\n"
)

// replaceTables puts the tables between the marks in a file.
func replaceTables(file, text string) error {
	was, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, rest, ok := bytes.Cut(was, []byte(beginMark))
	_, tail, also := bytes.Cut(rest, []byte(endMark))
	if !ok || !also {
		return fmt.Errorf("%s has no lines %q and %q", file, beginMark, endMark)
	}
	return os.WriteFile(file, slices.Concat(head, []byte(beginMark+"\n"+text+"\n"+endMark), tail), 0o644)
}
