package counters

import (
	"reflect"
	"testing"
	"time"

	"devlog/internal/intake"
)

// full returns counters that all differ.
func full() *Counters {
	c := &Counters{Counts: &intake.Counts{}, Started: time.Unix(1000, 7)}
	n := uint64(0)
	for _, s := range []reflect.Value{reflect.ValueOf(c).Elem(), reflect.ValueOf(c.Counts).Elem()} {
		for i := range s.NumField() {
			if f := s.Field(i); f.Kind() == reflect.Uint64 {
				n++
				f.SetUint(n)
			}
		}
	}
	return c
}

// Another process, and the next program, continue with all counters.
func TestContinue(t *testing.T) {
	for name, to := range map[string]func(from, to *Counters){
		"the next program": func(from, to *Counters) {
			described := map[string]uint64{}
			from.Describe(described)
			to.Resume(described)
			to.Started = from.Started // see handover.Description
		},
		"another process": func(from, to *Counters) {
			var tally Tally
			from.Tally(&tally, nil)
			to.Restore(&tally, 0, 0)
		},
	} {
		from, got := full(), &Counters{Counts: &intake.Counts{}}
		if to(from, got); !reflect.DeepEqual(got, from) {
			t.Errorf("%s: %+v %+v\nwant %+v %+v", name, got, got.Counts, from, from.Counts)
		}
	}
}

// What a killed process had read was not counted as received yet.
func TestRestoreKilled(t *testing.T) {
	from, got := full(), &Counters{Counts: &intake.Counts{}}
	var tally Tally
	from.Tally(&tally, nil)
	got.Restore(&tally, 3, 4)
	if got.Received != from.Received+3 || got.Killed != from.Killed+7 {
		t.Errorf("%+v", got)
	}
}
