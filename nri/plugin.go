// Package nri is a plugin of the Node Resource Interface: containerd and CRI-O call
// it before they create a container, and it adds devlog's hooks to those that want
// them. Nodes need no configuration, and no restart.
package nri

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/nri/pkg/api"

	"devlog/internal/annotation"
	"devlog/internal/environ"
)

const (
	// hookName and receiverName are the programs that a hook needs on the node.
	hookName     = "devlog-hook"
	receiverName = "devlogd"
	hookPath     = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
	// hookTimeout is the longest time that a hook may take, in seconds.
	hookTimeout = 30
	rulesName   = "rules"
)

// Options are the plugin's options.
type Options struct {
	// Dir is the directory of the programs, by the same path on the node and here.
	Dir string
	// All gives every container the hooks, AllDev every container with a directory of
	// the node at /dev. An annotation of its pod has precedence.
	All, AllDev bool
	// Rules are for containers without an annotation for rules.
	Rules []string
	// HookArgs are further arguments of the hook.
	HookArgs []string
	// Repair repairs containers that run already when the plugin starts.
	Repair bool
	// Log gets the plugin's log.
	Log *slog.Logger
}

// Plugin answers the container engine.
type Plugin struct {
	Options
	counters
	// repairs are the containers that wait to be repaired.
	repairs chan *running
}

// New returns a plugin with these options.
func New(o Options) *Plugin {
	return &Plugin{Options: o, repairs: make(chan *running, maxRepairs)}
}

// said returns devlog's annotations that apply to the container. In Kubernetes they are
// its pod's.
func said(pod *api.PodSandbox, c *api.Container) map[string]annotation.Said {
	all := maps.Clone(pod.GetAnnotations())
	if all == nil {
		all = make(map[string]string)
	}
	maps.Copy(all, c.GetAnnotations())
	ours, _ := annotation.Ours(all, c.GetName())
	return ours
}

// wanted returns whether the container should get the hooks.
func (p *Plugin) wanted(pod *api.PodSandbox, c *api.Container) bool {
	switch log := said(pod, c)[annotation.Log]; log.Value {
	case annotation.On:
		return true
	case annotation.Off:
		return false
	case "":
		return p.All || p.AllDev && sharesDev(c)
	default:
		p.of(pod, c).Warn("annotation has neither the value on nor off: devlog stays off", "annotation", environ.Shorten(log.Key), "value", environ.Shorten(log.Value))
		return false
	}
}

// sharesDev returns whether the container has a directory of the node at /dev.
func sharesDev(c *api.Container) bool {
	return slices.ContainsFunc(c.GetMounts(), func(m *api.Mount) bool {
		return path.Clean(m.GetDestination()) == "/dev" && (m.GetType() == "bind" || slices.Contains(m.GetOptions(), "bind") || slices.Contains(m.GetOptions(), "rbind"))
	})
}

// hasHook returns whether the container has devlog's hook already.
func hasHook(c *api.Container) bool {
	h := c.GetHooks()
	return slices.ContainsFunc(slices.Concat(h.GetPrestart(), h.GetCreateRuntime(), h.GetCreateContainer(), h.GetStartContainer(), h.GetPoststart()),
		func(h *api.Hook) bool { return filepath.Base(h.GetPath()) == hookName })
}

// CreateContainer adds the hooks to a container that wants them. It never fails: an
// error would keep the container from starting.
func (p *Plugin) CreateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	switch {
	case !p.wanted(pod, c):
		p.unwanted.Add(1)
		return nil, nil, nil
	case hasHook(c):
		p.present.Add(1)
		return nil, nil, nil
	}
	if err := p.installed(); err != nil {
		// A hook without its program would keep the container from starting.
		p.missing.Add(1)
		p.of(pod, c).Error("the container starts without devlog", "error", err)
		return nil, nil, nil
	}
	p.hooked.Add(1)
	p.of(pod, c).Info("hooks added")
	return p.adjustment(said(pod, c)), nil, nil
}

// installed returns an error if the hook cannot run on this node.
func (p *Plugin) installed() error {
	for _, name := range []string{hookName, receiverName} {
		name = filepath.Join(p.Dir, name)
		info, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("cannot find the program: %w", err)
		}
		if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
			return fmt.Errorf("cannot find the program: %s is not executable", name)
		}
	}
	return nil
}

// adjustment returns what the container gets: the hooks, and its pod's annotations for
// them, which engines do not pass on.
func (p *Plugin) adjustment(said map[string]annotation.Said) *api.ContainerAdjustment {
	a := &api.ContainerAdjustment{}
	for name, s := range said {
		a.AddAnnotation(s.Name(name), s.Value)
	}
	hook := func(stage string) []*api.Hook {
		return []*api.Hook{{Path: filepath.Join(p.Dir, hookName), Args: append([]string{hookName}, p.hookArgs(stage, said)...),
			Env: []string{hookPath}, Timeout: api.Int(hookTimeout)}}
	}
	a.AddHooks(&api.Hooks{CreateRuntime: hook("createRuntime"), Poststop: hook("poststop")})
	return a
}

// hookArgs returns the hook's arguments at the stage.
func (p *Plugin) hookArgs(stage string, said map[string]annotation.Said) []string {
	args := append([]string{"oci", "--stage", stage}, p.HookArgs...)
	// Empty lines are not rules. With only such lines, a pod would otherwise get a file on
	// the node that the administrator's rules do not allow.
	if strings.TrimSpace(said[rulesName].Value) == "" {
		for _, rule := range p.Rules {
			args = append(args, "--rule", rule)
		}
	}
	return args
}

// of returns the log with the container's names in Kubernetes.
func (p *Plugin) of(pod *api.PodSandbox, c *api.Container) *slog.Logger {
	return p.Log.With("namespace", pod.GetNamespace(), "pod", pod.GetName(), "container", c.GetName(), "id", c.GetId())
}
