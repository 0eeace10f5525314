package main

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine describes the machine.
func machine() map[string]string {
	read := func(path string) string {
		text, _ := os.ReadFile(path) // without it, the entry is left out
		return string(text)
	}
	cpu := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindStringSubmatch(read("/proc/cpuinfo"))
	m := map[string]string{
		"kernel":     strings.TrimSpace(read("/proc/sys/kernel/osrelease")),
		"processors": fmt.Sprint(runtime.NumCPU()),
		"Go":         strings.TrimPrefix(runtime.Version(), "go"),
		"gcc":        versionOf("gcc", "--version"),
		"queue":      strings.TrimSpace(read("/proc/sys/net/unix/max_dgram_qlen")),
	}
	if cpu != nil {
		m["processor"] = cpu[1]
	}
	if strings.Contains(read("/proc/cpuinfo"), " hypervisor") {
		m["processor"] += " (virtual)"
	}
	return m
}

// processors is what the machine's processors have done so far.
type processors struct {
	all  time.Duration // elapsed, of all processors
	busy time.Duration
	ours time.Duration // used by this process and the children that it has waited for
}

func readProcessors() (p processors, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return p, err
	}
	// user nice system idle iowait irq softirq steal, in ticks of 10 ms (proc_stat(5))
	var t [8]int64
	if _, err := fmt.Sscanf(string(text), "cpu %d %d %d %d %d %d %d %d", &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]); err != nil {
		return p, fmt.Errorf("read /proc/stat: %w", err)
	}
	for i, n := range t {
		d := time.Duration(n) * 10 * time.Millisecond
		p.all += d
		if i != 3 && i != 4 {
			p.busy += d
		}
	}
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			return p, err
		}
		p.ours += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return p, nil
}

// others returns the share of the time since before that other programs used.
func (p processors) others(before processors) float64 {
	if p.all == before.all {
		return 0
	}
	return max(0, float64((p.busy-before.busy)-(p.ours-before.ours))/float64(p.all-before.all))
}
