package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// The benchmark measures every quantity, loses nothing, and leaves nothing behind. The figures do not
// matter here.
func TestBench(t *testing.T) {
	host.Need(t, "root", "gcc", "busybox")
	dir := t.TempDir()
	program := filepath.Join(dir, "bench")
	host.Check(t, host.Command("go", "build", "-o", program, "devlog/test/bench/receiver"))
	results, document, picture := filepath.Join(dir, "results.json"), filepath.Join(dir, "doc.md"), filepath.Join(dir, "doc.svg")
	const begin, end = "<!-- make bench writes from here -->\n", "<!-- to here -->\n"
	host.Check(t, os.WriteFile(document, []byte("above\n"+begin+end+"below\n"), 0o600))
	before := machineState(t)
	cmd := exec.Command(program, "-devlogd", filepath.Join(host.BinDir, "devlogd"), "-peers", "busybox", "-reps", "1", "-scale", "0.001",
		"-idle", "100ms", "-settle", "10ms", "-receivers", "3", "-containers", "3", "-results", results, "-document", document, "-picture", picture)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, &said)
	}
	if after := machineState(t); after != before {
		t.Errorf("the machine was\n%s\nand is\n%s", before, after)
	}

	text, err := os.ReadFile(document)
	host.Check(t, err)
	if string(text) != "above\n"+begin+"\n"+string(out)+"\n"+end+"below\n" {
		t.Errorf("the document is\n%s", text)
	}
	for _, row := range []string{"messages/s: 8 senders", "CPU a message: 100/s", "RSS idle", "allocations a message", "exec to the first", "3 receivers at once", "| one ", "the same beside one that is flooded", "3 containers of one service", "flood through 3 sockets"} {
		if !strings.Contains(string(out), row) {
			t.Errorf("no %q in\n%s", row, out)
		}
	}
	svg, err := os.Open(picture)
	host.Check(t, err)
	defer svg.Close()
	for d := xml.NewDecoder(svg); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}

	var got struct {
		Versions map[string]string
		Values   map[string]map[string]map[string]struct{ Median, Min, Max float64 }
	}
	data, err := os.ReadFile(results)
	host.Check(t, err)
	host.Check(t, json.Unmarshal(data, &got))
	for _, peer := range []string{"limit", "devlogd", "busybox"} {
		for _, load := range []string{"one", "eight", "long", "4000/s", "100/s", "eight, queue 512"} {
			for _, quantity := range []string{"messages/s", "CPU µs a message", "send p50 µs", "send p99 µs", "RSS idle kB", "RSS after kB"} {
				if v := got.Values[peer][load][quantity]; v.Min <= 0 || v.Median < v.Min || v.Max < v.Median {
					t.Errorf("%s, load %s: %s is %+v", peer, load, quantity, v)
				}
			}
			if v, ok := got.Values[peer][load]["lost"]; !ok || v.Max != 0 {
				t.Errorf("%s, load %s: lost %+v", peer, load, v)
			}
		}
		if v := got.Values[peer]["start"]["start µs"]; v.Min <= 0 {
			t.Errorf("%s: starts take %+v", peer, v)
		}
		if _, ok := got.Values[peer]["idle"]["wake-ups"]; !ok {
			t.Errorf("%s: wake-ups were not counted", peer)
		}
		for _, quantity := range []string{"private kB", "all private kB", "all Pss kB", "quiet send p99 µs", "quiet log p99 µs", "beside flood send p99 µs", "beside flood log p99 µs"} {
			if v := got.Values[peer]["many"][quantity]; peer != "limit" && v.Min <= 0 {
				t.Errorf("many times %s: %s is %+v", peer, quantity, v)
			}
		}
	}
	if v, ok := got.Values["podman"]["action journal"]; ok && (v["lost"].Max != 0 || v["CPU µs a message"].Min <= 0) {
		t.Errorf("podman's driver: %+v", v)
	}
	if v := got.Values["busybox"]["long"]["cut"]; v.Min != v.Max { // all in Debian 12, none in Debian 13
		t.Errorf("busybox cuts messages of one length, and %+v were seen", v)
	}
}

// machineState is the part of the machine's state that the benchmark could disturb.
func machineState(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	host.Check(t, err)
	for line := range strings.Lines(string(mounts)) {
		if slices.Contains([]string{"/dev", "/run", "/var/log", "/proc"}, strings.Fields(line)[4]) {
			b.WriteString(line)
		}
	}
	queue, err := os.ReadFile("/proc/sys/net/unix/max_dgram_qlen")
	host.Check(t, err)
	b.Write(queue)
	for _, path := range []string{"/dev/log", "/run/bench"} {
		info, err := os.Lstat(path)
		if err != nil {
			b.WriteString(err.Error() + "\n")
			continue
		}
		b.WriteString(path + " " + info.Mode().String() + " " + info.ModTime().String() + "\n")
	}
	return b.String()
}
