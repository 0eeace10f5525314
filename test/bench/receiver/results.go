package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"
)

// The quantities that are measured.
const (
	rate     = "messages/s"
	cpu      = "CPU µs a message"
	p50      = "send p50 µs"
	p99      = "send p99 µs"
	rssIdle  = "RSS idle kB"
	rssAfter = "RSS after kB"
	lost     = "lost"
	cut      = "cut"
	disorder = "out of order"

	startTime = "start µs" // from exec to the first message taken
	wakeups   = "wake-ups"
	idleCPU   = "idle CPU ms"

	private      = "private kB"     // Pss_Anon of an additional instance
	totalPrivate = "all private kB" // the sum of all
	totalPSS     = "all Pss kB"
	quietP99     = "quiet send p99 µs"
	quietLog     = "quiet log p99 µs" // from the send until the message is in the log
	besideP99    = "beside flood send p99 µs"
	besideLog    = "beside flood log p99 µs"
)

// The names under which quantities without a load are stored.
const (
	starting = "start"
	resting  = "idle"
	crowded  = "many"
)

// value is a quantity that was measured several times.
type value struct {
	Median, Min, Max float64
	samples          []float64
}

// results is what was measured, as stored in a file.
type results struct {
	Time        time.Time
	Machine     map[string]string
	Versions    map[string]string
	Peers       []string
	Reps        int
	Scale       float64
	IdleSeconds float64
	Receivers   int
	Containers  int     // of a host's service
	OthersLoad  float64 // share of the processors that other programs used
	Allocations int     // by the receiver, for a message
	// Values are by peer, load and quantity.
	Values map[string]map[string]map[string]*value
}

func newResults(w *place) *results {
	r := &results{
		Time: time.Now().UTC().Truncate(time.Second), Machine: machine(), Versions: map[string]string{}, Reps: w.reps, Scale: w.scale,
		IdleSeconds: w.idle.Seconds(), Receivers: w.receivers, Containers: w.containers, Values: map[string]map[string]map[string]*value{},
	}
	for _, p := range w.peers {
		r.Peers = append(r.Peers, p.name)
		r.Versions[p.name] = p.version
	}
	return r
}

// add adds one sample of each of these quantities.
func (r *results) add(peer, load string, samples map[string]float64) {
	if r.Values[peer] == nil {
		r.Values[peer] = map[string]map[string]*value{}
	}
	if r.Values[peer][load] == nil {
		r.Values[peer][load] = map[string]*value{}
	}
	for quantity, sample := range samples {
		v := r.Values[peer][load][quantity]
		if v == nil {
			v = new(value)
			r.Values[peer][load][quantity] = v
		}
		v.samples = append(v.samples, sample)
		sorted := slices.Sorted(slices.Values(v.samples))
		n := len(sorted)
		*v = value{(sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1], v.samples}
	}
}

// get returns a quantity's median, and whether it was measured.
func (r *results) get(peer, load, quantity string) (float64, bool) {
	v := r.Values[peer][load][quantity]
	if v == nil {
		return 0, false
	}
	return v.Median, true
}

// ratio compares a quantity with the limit's.
func (r *results) ratio(peer, load, quantity string) (float64, bool) {
	x, ok := r.get(peer, load, quantity)
	y, also := r.get(limitName, load, quantity)
	if !ok || !also || y == 0 {
		return 0, false
	}
	return x / y, true
}

// failure returns an error if devlogd or the limit lost anything: then the other figures mean
// nothing.
func (r *results) failure() error {
	for _, peer := range []string{ownName, limitName, serviceName, crowdTool} {
		for _, load := range slices.Sorted(maps.Keys(r.Values[peer])) {
			for _, quantity := range []string{lost, cut, disorder} {
				if v := r.Values[peer][load][quantity]; v != nil && v.Max > 0 {
					return fmt.Errorf("%s, load %s: %.0f messages are %s", peer, load, v.Max, quantity)
				}
			}
		}
	}
	return nil
}

func (r *results) save(file string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// loadResults reads a file that save has written.
func loadResults(file string) (*results, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := new(results)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return r, nil
}
