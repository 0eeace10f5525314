package nri

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/nri/pkg/api"
)

// programs is a directory with the programs that the hook needs, and a plugin that
// uses it and logs to the buffer.
func programs(t *testing.T, o Options) (*Plugin, *bytes.Buffer) {
	t.Helper()
	o.Dir = t.TempDir()
	for _, name := range []string{hookName, receiverName} {
		if err := os.WriteFile(filepath.Join(o.Dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	return New(o), &log
}

func bind(to string, options ...string) *api.Mount {
	return &api.Mount{Destination: to, Source: to, Type: "bind", Options: options}
}

func TestWanted(t *testing.T) {
	dev := []*api.Mount{bind("/data"), bind("/dev/")}
	for _, tt := range []struct {
		name        string
		o           Options
		annotations map[string]string
		mounts      []*api.Mount
		want        bool
	}{
		{"nothing asked", Options{}, nil, dev, false},
		{"asked", Options{}, map[string]string{"devlog.dev/log": "on"}, nil, true},
		{"asked by the old name", Options{}, map[string]string{"devlog": "on"}, nil, true},
		{"asked for this container", Options{}, map[string]string{"devlog.dev/log.web": "on"}, nil, true},
		{"asked for another container", Options{}, map[string]string{"devlog.dev/log.db": "on"}, nil, false},
		{"not for this one", Options{}, map[string]string{"devlog.dev/log": "on", "devlog.dev/log.web": "off"}, nil, false},
		{"neither on nor off", Options{All: true}, map[string]string{"devlog.dev/log": "true"}, nil, false},
		{"rules alone", Options{}, map[string]string{"devlog.dev/rules": "*.* container-stdout"}, nil, false},
		{"all", Options{All: true}, nil, nil, true},
		{"all but this", Options{All: true}, map[string]string{"devlog.dev/log": "off"}, dev, false},
		{"all with /dev", Options{AllDev: true}, nil, dev, true},
		{"all with /dev but this", Options{AllDev: true}, map[string]string{"devlog.dev/log": "off"}, dev, false},
		{"all with /dev, without", Options{AllDev: true}, nil, []*api.Mount{bind("/dev/net"), bind("/device")}, false},
		{"all with /dev, its own", Options{AllDev: true}, nil, []*api.Mount{{Destination: "/dev", Type: "tmpfs", Options: []string{"nosuid"}}}, false},
		{"all with /dev, by an option", Options{AllDev: true}, nil, []*api.Mount{{Destination: "/dev", Options: []string{"rbind", "rw"}}}, true},
	} {
		p, _ := programs(t, tt.o)
		if got := p.wanted(&api.PodSandbox{Annotations: tt.annotations}, &api.Container{Name: "web", Mounts: tt.mounts}); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}

func TestCreateContainer(t *testing.T) {
	asked := map[string]string{"devlog.dev/log": "on", "devlog.dev/rules.web": "*.* container-stdout", "devlog.dev/socket.db": "/x", "other/key": "x"}
	p, _ := programs(t, Options{Rules: []string{"*.* -/var/log/x"}, HookArgs: []string{"--no-auto-repair"}})
	a, updates, err := p.CreateContainer(context.Background(), &api.PodSandbox{Annotations: asked}, &api.Container{Name: "web"})
	if err != nil || updates != nil {
		t.Fatalf("%v, %v", updates, err)
	}
	if want := map[string]string{"devlog.dev/log": "on", "devlog.dev/rules": "*.* container-stdout"}; !maps.Equal(a.Annotations, want) {
		t.Errorf("annotations %v, want %v", a.Annotations, want)
	}
	for stage, hooks := range map[string][]*api.Hook{"createRuntime": a.Hooks.CreateRuntime, "poststop": a.Hooks.Poststop} {
		if len(hooks) != 1 || hooks[0].Path != p.Dir+"/devlog-hook" || hooks[0].Timeout.GetValue() != hookTimeout ||
			!slices.Equal(hooks[0].Args, []string{"devlog-hook", "oci", "--stage", stage, "--no-auto-repair"}) {
			t.Errorf("%s: %v", stage, hooks)
		}
	}
	// Rules of the pod's own replace those of the plugin, which come with the others.
	a, _, _ = p.CreateContainer(context.Background(), &api.PodSandbox{Annotations: asked}, &api.Container{Name: "db"})
	if args := a.Hooks.CreateRuntime[0].Args; !slices.Equal(args[4:], []string{"--no-auto-repair", "--rule", "*.* -/var/log/x"}) {
		t.Errorf("arguments %q", args)
	}
	// A pod that says no rule gets those of the plugin, too.
	empty := map[string]string{"devlog.dev/log": "on", "devlog.dev/rules": " \n\t\n"}
	a, _, _ = p.CreateContainer(context.Background(), &api.PodSandbox{Annotations: empty}, &api.Container{Name: "db"})
	if args := a.Hooks.CreateRuntime[0].Args; !slices.Equal(args[4:], []string{"--no-auto-repair", "--rule", "*.* -/var/log/x"}) {
		t.Errorf("arguments with an empty rule: %q", args)
	}
	// A former name is passed on, for the hook to report.
	former := map[string]string{"devlog": "on", "devlog.rules": "*.* container-stdout", "devlog.dev/rate.web": "5"}
	a, _, _ = p.CreateContainer(context.Background(), &api.PodSandbox{Annotations: former}, &api.Container{Name: "web"})
	if want := map[string]string{"devlog": "on", "devlog.rules": "*.* container-stdout", "devlog.dev/rate": "5"}; !maps.Equal(a.Annotations, want) {
		t.Errorf("annotations %v, want %v", a.Annotations, want)
	}
	for name, c := range map[string]*api.Container{
		"ours":              {Hooks: &api.Hooks{Prestart: []*api.Hook{{Path: "/usr/libexec/devlog/devlog-hook"}}}},
		"of another plugin": {Hooks: a.Hooks},
	} {
		if a, _, err := p.CreateContainer(context.Background(), &api.PodSandbox{Annotations: asked}, c); a != nil || err != nil {
			t.Errorf("with hooks that are %s: %v, %v", name, a, err)
		}
	}
	if a, _, err := p.CreateContainer(context.Background(), nil, &api.Container{}); a != nil || err != nil {
		t.Errorf("nothing asked: %v, %v", a, err)
	}
	if got := metrics(p); !strings.Contains(got, `{result="hooks"} 4`) || !strings.Contains(got, `{result="had_hooks"} 2`) || !strings.Contains(got, `{result="not_wanted"} 1`) {
		t.Errorf("counted:\n%s", got)
	}
}

// What a pod says is not repeated at any length.
func TestLongAnnotation(t *testing.T) {
	p, log := programs(t, Options{})
	long := strings.Repeat("x", 100_000)
	for _, annotations := range []map[string]string{{"devlog.dev/log": long}, {"devlog.dev/log." + long: long}} {
		name := "web"
		if annotations["devlog.dev/log"] == "" {
			name = long
		}
		if p.wanted(&api.PodSandbox{Annotations: annotations}, &api.Container{Name: name}) {
			t.Error("wanted")
		}
	}
	if n := strings.Count(log.String(), "xxx..."); n != 3 || strings.Count(log.String(), "\n") != 2 {
		t.Errorf("%d are shortened:\n%.1000s", n, log)
	}
}

// A hook whose program is missing would keep the container from starting.
func TestMissingProgram(t *testing.T) {
	for name, harm := range map[string]func(p *Plugin) error{
		"no hook":            func(p *Plugin) error { return os.Remove(filepath.Join(p.Dir, hookName)) },
		"no receiver":        func(p *Plugin) error { return os.Remove(filepath.Join(p.Dir, receiverName)) },
		"not executable":     func(p *Plugin) error { return os.Chmod(filepath.Join(p.Dir, hookName), 0o644) },
		"a directory":        func(p *Plugin) error { p.Dir = filepath.Dir(p.Dir); return os.Mkdir(p.Dir+"/"+hookName, 0o755) },
		"not there any more": func(p *Plugin) error { return os.RemoveAll(p.Dir) },
	} {
		p, log := programs(t, Options{All: true})
		if err := harm(p); err != nil {
			t.Fatal(err)
		}
		a, _, err := p.CreateContainer(context.Background(), &api.PodSandbox{Namespace: "shop", Name: "web-0"}, &api.Container{Name: "web"})
		if a != nil || err != nil || !strings.Contains(log.String(), "starts without devlog") || !strings.Contains(log.String(), "pod=web-0") {
			t.Errorf("%s: %v, %v\n%s", name, a, err, log)
		}
		if got := metrics(p); !strings.Contains(got, `{result="no_program"} 1`) {
			t.Errorf("%s: counted:\n%s", name, got)
		}
	}
}

func metrics(p *Plugin) string {
	w := httptest.NewRecorder()
	p.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

func TestHealth(t *testing.T) {
	p, _ := programs(t, Options{})
	for _, connected := range []bool{false, true, false} {
		p.connected.Store(connected)
		w := httptest.NewRecorder()
		p.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
		if (w.Code == 200) != connected {
			t.Errorf("connected: %t: %d %s", connected, w.Code, w.Body)
		}
		if want := "devlog_nri_connected 1\n"; strings.Contains(metrics(p), want) != connected {
			t.Errorf("connected: %t:\n%s", connected, metrics(p))
		}
	}
}
