package nri

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// lines hands on what is written, line by line.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// Without an engine the plugin tries again, less and less often, until it is told
// to end.
func TestRunWithoutEngine(t *testing.T) {
	p, _ := programs(t, Options{Repair: true})
	said := make(lines, 16)
	p.Log = slog.New(slog.NewTextHandler(said, nil))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- p.Run(ctx, filepath.Join(t.TempDir(), "nri.sock"), "90") }()
	for _, again := range []string{"again=100ms", "again=200ms"} {
		select {
		case line := <-said:
			if !strings.Contains(line, again) || !strings.Contains(line, "no such file or directory") {
				t.Errorf("it says %q, want %s", line, again)
			}
		case <-time.After(time.Minute):
			t.Fatal("it says nothing")
		}
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil || p.connected.Load() {
			t.Errorf("the end: %v, connected: %t", err, p.connected.Load())
		}
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
}
