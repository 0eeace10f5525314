package nri

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

// pluginName is the name by which an administrator can require the plugin
// (required-plugins.noderesource.dev).
const pluginName = "devlog"

// The first and the longest time until the plugin connects again.
const (
	firstWait = 100 * time.Millisecond
	maxWait   = 5 * time.Second
)

// Run connects to the engine's socket and answers until the context ends. It connects
// again when the connection ends, for example because the engine restarts. A plugin
// that the engine itself has started returns when its connection ends.
func (p *Plugin) Run(ctx context.Context, socket, index string) error {
	if p.Repair {
		go p.repairAll(ctx)
	}
	wait := firstWait
	for {
		began := time.Now()
		err := p.connect(ctx, socket, index)
		p.connected.Store(false)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the context has ended
		case os.Getenv(api.PluginSocketEnvVar) != "":
			return err
		}
		if time.Since(began) > maxWait {
			wait = firstWait
		}
		p.Log.Warn("not connected to the container engine", "error", err, "again", wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, maxWait)
	}
}

// connect answers calls on one connection, until that ends.
func (p *Plugin) connect(ctx context.Context, socket, index string) error {
	options := []stub.Option{
		stub.WithPluginName(pluginName), stub.WithPluginIdx(index), stub.WithLogger(engineLog{p.Log}),
		// A slow answer costs one container its hooks, but not the next ones.
		stub.WithFailurePolicy(&api.FailurePolicy{KeepConnected: true}),
	}
	if os.Getenv(api.PluginSocketEnvVar) != "" {
		options = options[2:] // the engine has set the name, from the file's
	} else {
		options = append(options, stub.WithSocketPath(socket))
	}
	ended := make(chan struct{})
	s, err := stub.New(p, append(options, stub.WithOnClose(func() { close(ended) }))...)
	if err != nil {
		return err
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	select {
	case <-ended:
		return errors.New("the engine has closed the connection")
	case <-ctx.Done():
		s.Stop()
		return nil
	}
}

// Configure is called when the plugin is connected. It configures nothing: the plugin
// gets the events that it has methods for.
func (p *Plugin) Configure(_ context.Context, _, engine, version string) (api.EventMask, error) {
	p.Log.Info("connected", "engine", engine, "version", version)
	p.connects.Add(1)
	p.connected.Store(true)
	return 0, nil
}

// engineLog writes the library's log.
type engineLog struct{ log *slog.Logger }

func (l engineLog) Debugf(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, fmt.Sprintf(format, args...))
}

func (l engineLog) Infof(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, fmt.Sprintf(format, args...))
}

func (l engineLog) Warnf(ctx context.Context, format string, args ...any) {
	l.log.WarnContext(ctx, fmt.Sprintf(format, args...))
}

func (l engineLog) Errorf(ctx context.Context, format string, args ...any) {
	l.log.ErrorContext(ctx, fmt.Sprintf(format, args...))
}
