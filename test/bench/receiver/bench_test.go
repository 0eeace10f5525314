package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestCount(t *testing.T) {
	const head = "Nov 24 12:00:00 host load[1000]: "
	l := load{senders: 2, messages: 2, bytes: len("<14>Nov 24 12:00:00 load[1000]: run 0 0 x.")}
	lines := func(texts ...string) []byte {
		var log string
		for _, text := range texts {
			log += head + text + "\n"
		}
		return []byte(log)
	}
	for _, tt := range []struct {
		name string
		log  []byte
		want counted
	}{
		{"all", lines("run 0 0 x.", "run 1 0 x.", "run 1 1 x.", "run 0 1 x."), counted{}},
		{"and others", append(lines("run 0 0 x.", "run 1 0 x.", "run 1 1 x.", "run 0 1 x."), "Nov 24 12:00:00 host devlogd[1]: ended\n"...), counted{}},
		{"none", nil, counted{lost: 4}},
		{"some", lines("run 0 1 x.", "run 1 0 x."), counted{lost: 2}},
		{"twice", lines("run 0 0 x.", "run 0 0 x.", "run 1 0 x.", "run 1 1 x.", "run 0 1 x."), counted{disorder: 1}},
		{"cut", lines("run 0 0 x.", "run 1 0 x.", "run 1 1 x", "run 0 1 xx"), counted{cut: 2}},
		{"another order", lines("run 0 1 x.", "run 0 0 x.", "run 1 0 x.", "run 1 1 x."), counted{disorder: 1}},
		{"unknown", lines("run 2 0 x.", "run 0", "run a b x.", "run -1 0 ."), counted{lost: 4, disorder: 4}},
		{"torn end", append(lines("run 0 0 x.", "run 1 0 x.", "run 1 1 x."), head+"run 0 1"...), counted{lost: 1, disorder: 1}},
	} {
		if got := count(tt.log, l); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func FuzzCount(f *testing.F) {
	f.Add([]byte("load[1000]: run 0 0 x.\nload[1001]: run 1 0 x.\n"))
	f.Fuzz(func(t *testing.T, log []byte) {
		if c := count(log, load{senders: 2, messages: 3, bytes: 50}); c.lost < 0 || c.lost > 6 {
			t.Errorf("%+v", c)
		}
	})
}

func TestQuantile(t *testing.T) {
	var numbers []uint32
	for i := range 100 {
		numbers = append(numbers, uint32(i+1))
	}
	for q, want := range map[float64]float64{0: 1, 0.5: 51, 0.99: 100, 1: 100} {
		if got := quantile(numbers, q); got != want {
			t.Errorf("%v: got %v, want %v", q, got, want)
		}
	}
}

func TestProcessors(t *testing.T) {
	p, err := readProcessors()
	if err != nil || p.all < p.busy || p.busy <= 0 || p.ours <= 0 {
		t.Errorf("%+v, %v", p, err)
	}
	before, after := processors{all: 100, busy: 50, ours: 5}, processors{all: 200, busy: 110, ours: 25}
	if got := after.others(before); got != 0.4 {
		t.Errorf("got %v", got)
	}
	if got := before.others(before); got != 0 {
		t.Errorf("of no time: %v", got)
	}
}

func TestField(t *testing.T) {
	text := []byte("Rss:     100 kB\nPss_Anon:  7 kB\nvoluntary_ctxt_switches:\t5\n")
	for name, want := range map[string]float64{"Rss:": 100, "Pss_Anon:": 7, "voluntary_ctxt_switches:": 5} {
		if got, err := field(text, name); err != nil || got != want {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	if _, err := field(text, "Pss:"); err == nil {
		t.Error("no error for what is not there")
	}
}

// sample returns results that differ between loads and peers.
func sample() *results {
	w := &place{peers: []peer{{name: limitName}, {name: ownName, version: "1.2"}, {name: "busybox"}}, plan: plan{reps: 3, scale: 1, receivers: 9}}
	r := newResults(w)
	for i, p := range r.Peers {
		for _, l := range allLoads {
			for _, x := range []float64{300, 100, 200} {
				q := map[string]float64{}
				for _, name := range []string{rate, cpu, p50, p99, rssIdle, rssAfter} {
					q[name] = x * float64(i+1)
				}
				q[lost], q[cut], q[disorder] = 0, 0, 0
				r.add(p, l.name, q)
			}
		}
		r.add(p, starting, map[string]float64{startTime: 1000})
		r.add(p, resting, map[string]float64{wakeups: 0, idleCPU: 0})
		if i > 0 {
			q := map[string]float64{}
			for _, name := range []string{private, totalPrivate, totalPSS, wakeups, idleCPU, quietP99, quietLog, besideP99, besideLog} {
				q[name] = float64(i) * 1000
			}
			r.add(p, crowded, q)
		}
	}
	r.add(emptyTool, starting, map[string]float64{startTime: 500})
	return r
}

func TestResults(t *testing.T) {
	r := sample()
	if v := r.Values[ownName]["one"][rate]; v.Median != 400 || v.Min != 200 || v.Max != 600 {
		t.Errorf("%+v", v)
	}
	r.add("x", "one", map[string]float64{rate: 3})
	r.add("x", "one", map[string]float64{rate: 4})
	if got, ok := r.get("x", "one", rate); !ok || got != 3.5 {
		t.Errorf("median of two: %v, %v", got, ok)
	}
	if got, ok := r.ratio(ownName, "one", cpu); !ok || got != 2 {
		t.Errorf("ratio: %v, %v", got, ok)
	}
	if _, ok := r.ratio("none", "one", cpu); ok {
		t.Error("ratio of nobody")
	}
	file := filepath.Join(t.TempDir(), "results.json")
	if err := r.save(file); err != nil {
		t.Fatal(err)
	}
	got, err := loadResults(file)
	if err != nil {
		t.Fatal(err)
	}
	if tables(got) != tables(r) || draw(got) != draw(r) || !reflect.DeepEqual(got.Machine, r.Machine) {
		t.Error("saved results are others")
	}
}

func TestFailure(t *testing.T) {
	for quantity, peers := range map[string]map[string]bool{lost: {ownName: true, limitName: true, "busybox": false}, cut: {ownName: true, "busybox": false}, disorder: {limitName: true}} {
		for peer, want := range peers {
			r := sample()
			if err := r.failure(); err != nil {
				t.Fatal(err)
			}
			r.add(peer, "eight", map[string]float64{quantity: 1})
			if err := r.failure(); (err != nil) != want {
				t.Errorf("%s of %s: %v", quantity, peer, err)
			}
		}
	}
}

func TestTargets(t *testing.T) {
	r := sample()
	want := map[string]string{ // each of devlogd's figures is twice the limit's
		"messages/s: 1 sender, 120 bytes": "2.00× (0k) true",
		"CPU a message: 4,000/s":          "2.00× (400.0 µs) true",
		"CPU a message: flood, 1 KiB":     "2.00× (400.0 µs) false",
		"sender p99: flood, 1 sender":     "400.0 µs false",
		"wake-ups in 0 s, idle":           "0 true",
		"exec to the first message taken": "2.00× (1.00 ms) false",
	}
	for _, target := range r.targets() {
		_, judged, ok := target.value(r, ownName)
		if !ok {
			t.Errorf("%s was not measured", target.what)
		}
		got := fmt.Sprint(target.cell(r, ownName), " ", target.met(judged))
		if want, listed := want[target.what]; listed && got != want {
			t.Errorf("%s: got %q, want %q", target.what, got, want)
		}
		delete(want, target.what)
	}
	for what := range want {
		t.Errorf("no target %q", what)
	}
	r.add("busybox", "long", map[string]float64{cut: 5})
	if text := tables(r); !strings.Contains(text, "3.00× (1k), cut") || !strings.Contains(text, "**not met**") {
		t.Errorf("tables:\n%s", text)
	}
}

func TestReplaceTables(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	for was, want := range map[string]string{
		"a\n" + beginMark + "old\n" + endMark + "b\n": "a\n" + beginMark + "\nnew\n" + "\n" + endMark + "b\n",
		"no marks\n":                "",
		"a\n" + endMark + beginMark: "",
	} {
		if err := os.WriteFile(file, []byte(was), 0o600); err != nil {
			t.Fatal(err)
		}
		err := replaceTables(file, "new\n")
		got, _ := os.ReadFile(file)
		if want == "" && (err == nil || string(got) != was) || want != "" && (err != nil || string(got) != want) {
			t.Errorf("%q becomes %q, %v", was, got, err)
		}
	}
}

func wellFormed(text string) error {
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func TestDraw(t *testing.T) {
	r := sample()
	r.Machine["kernel"] = "<&>"
	text := draw(r)
	if err := wellFormed(text); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
	for _, want := range []string{">devlogd<", ">busybox<", "2.00", "3.00"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
}

// The tables and the picture in the repository match the results there.
func TestDocument(t *testing.T) {
	r, err := loadResults("results.json")
	if err != nil {
		t.Fatal(err)
	}
	const docs = "../../../docs/"
	document, err := os.ReadFile(docs + "performance.md")
	if err != nil {
		t.Fatal(err)
	}
	picture, err := os.ReadFile(docs + "performance.svg")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(document), tables(r)) || string(picture) != draw(r) {
		t.Error("docs/performance.md or .svg is not of results.json: run make bench, or make bench BENCH_FLAGS=-render")
	}
}
