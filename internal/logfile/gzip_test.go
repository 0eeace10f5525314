package logfile

import (
	"runtime"
	"testing"
)

// While a file is compressed, receiving has a processor too.
func TestProcessors(t *testing.T) {
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	var p processors
	p.begin()
	p.begin()
	if n := runtime.GOMAXPROCS(0); n != 2 {
		t.Errorf("%d processors beside two jobs, want 2", n)
	}
	p.end()
	if n := runtime.GOMAXPROCS(0); n != 2 {
		t.Errorf("%d processors beside one job, want 2", n)
	}
	p.end()
	if n := runtime.GOMAXPROCS(0); n != 1 {
		t.Errorf("%d processors at the end, want 1", n)
	}
}
