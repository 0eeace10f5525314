// Package hook owns the call: what a container runtime says to a hook when it
// runs one, and which container that means.
package hook

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"devlog/internal/file"
)

// Stage is a point in a container's life at which OCI runtimes run hooks
// (runtime-spec, config.md, "POSIX-platform Hooks").
type Stage string

// The stages. prestart is deprecated by the specification, and the only one of the
// first two that podman before 2.2 and runc before 1.0.0-rc91 know.
const (
	// Prestart and CreateRuntime run in the runtime's namespaces, when the
	// container's mounts are in place and before pivot_root(2).
	Prestart      Stage = "prestart"
	CreateRuntime Stage = "createRuntime"
	// CreateContainer runs in the container's namespaces, before pivot_root(2).
	CreateContainer Stage = "createContainer"
	// StartContainer runs in the container, as its process's user.
	StartContainer Stage = "startContainer"
	// Poststart runs in the runtime's namespaces, beside the container's process.
	Poststart Stage = "poststart"
	// Poststop runs in the runtime's namespaces when the container is gone.
	Poststop Stage = "poststop"
)

var stages = []Stage{Prestart, CreateRuntime, CreateContainer, StartContainer, Poststart, Poststop}

// ParseStage returns the stage of that name, written as in the specification.
func ParseStage(name string) (Stage, error) {
	if s := Stage(name); slices.Contains(stages, s) {
		return s, nil
	}
	if name == "" {
		return "", fmt.Errorf("which stage? add --stage and one of %s", strings.Join(stageNames(), ", "))
	}
	return "", fmt.Errorf("unknown stage %q: want one of %s", name, strings.Join(stageNames(), ", "))
}

func stageNames() (names []string) {
	for _, s := range stages {
		names = append(names, string(s))
	}
	return names
}

// OnHost says that hooks of the stage run in the runtime's namespaces.
func (s Stage) OnHost() bool { return s != CreateContainer && s != StartContainer }

const (
	maxState  = 1 << 20 // bytes of a state; annotations make up most of it
	maxConfig = 16 << 20
	maxID     = 255 // NAME_MAX: the ID becomes a directory's name
)

// Container is what a hook needs to know of the container it was run for.
type Container struct {
	// ID is the container's ID: a name without a slash, at most 255 bytes.
	ID string
	// PID is the container's first process, as the hook sees it; 0 at the stages
	// that have no use for it. At startContainer that is what the runtime says,
	// which may be 0 or the host's number.
	PID int
	// Rootfs is the absolute path of the container's root directory on the host,
	// which in the mount namespace of the process PID it is until pivot_root(2).
	// It is empty at startContainer, and at poststop where it is not known.
	Rootfs string
	// Annotations are what whoever started the container has said of it
	// (runtime-spec, config.md, "Annotations").
	Annotations map[string]string
	// Env is the environment of the container's process, NAME=VALUE each.
	Env []string
	// Hostname is the container's host name as its config.json has it; empty if it
	// has none of its own.
	Hostname string
}

// ReadOCI reads a container's state (runtime-spec, runtime.md, "State") as a
// runtime writes it on the standard input of a hook of that stage, and what the
// container's config.json says of it. Unknown fields are passed over. With an
// error it returns the ID alone, where that could be read.
func ReadOCI(r io.Reader, stage Stage) (Container, error) {
	state, err := parseState(r, stage)
	known := Container{}
	if CheckName(state.ID) == nil {
		known.ID = state.ID
	}
	if err != nil {
		return known, fmt.Errorf("read the container's state from standard input: %w", err)
	}
	c := Container{ID: state.ID, Annotations: state.Annotations}
	if stage != CreateContainer && stage != Poststop {
		c.PID = state.Pid // with the host's /proc in the container it is another's number
	}
	if stage == StartContainer {
		return c, nil // the bundle is not seen in there
	}
	config, err := readConfig(filepath.Join(state.Bundle, "config.json"))
	if stage == Poststop && err != nil {
		return c, nil //nolint:nilerr // it may be gone already, and nothing is to fail
	}
	if err != nil {
		return known, fmt.Errorf("read the container's configuration: %w", err)
	}
	if c.Rootfs = config.Root.Path; !filepath.IsAbs(c.Rootfs) {
		c.Rootfs = filepath.Join(state.Bundle, c.Rootfs)
	}
	if len(config.Annotations) > 0 { // not every runtime repeats them in the state
		c.Annotations = config.Annotations
	}
	c.Env, c.Hostname = config.Process.Env, config.Hostname
	return c, nil
}

func parseState(r io.Reader, stage Stage) (specs.State, error) {
	var s specs.State
	data, err := io.ReadAll(io.LimitReader(r, maxState+1))
	if err == nil && len(data) > maxState {
		err = fmt.Errorf("more than %d bytes", maxState)
	}
	if err == nil {
		err = parseJSON(data, &s)
	}
	if err != nil {
		return s, err
	}
	if err := CheckName(s.ID); err != nil {
		return s, fmt.Errorf("bad id: %w", err)
	}
	if stage != Poststop && stage.OnHost() && s.Pid < 1 {
		return s, fmt.Errorf("pid is %d, no process: want the container's first one, as %s hooks get it; give --stage the stage at which the hook is run, such as %s",
			s.Pid, stage, CreateContainer)
	}
	if stage != StartContainer && !filepath.IsAbs(s.Bundle) {
		return s, fmt.Errorf("bundle is %q: want an absolute path", s.Bundle)
	}
	return s, nil
}

// config is what is of interest of a config.json. It is not a specs.Spec:
// nothing else has to be well-formed.
type config struct {
	Root struct {
		Path string `json:"path"`
	} `json:"root"`
	Process struct {
		Env []string `json:"env"`
	} `json:"process"`
	Hostname    string            `json:"hostname"`
	Annotations map[string]string `json:"annotations"`
}

func readConfig(path string) (config, error) {
	data, err := file.Read(path, maxConfig)
	if err != nil {
		return config{}, err
	}
	c, err := parseConfig(data)
	if err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func parseConfig(data []byte) (config, error) {
	var c config
	if err := parseJSON(data, &c); err != nil {
		return c, err
	}
	if c.Root.Path == "" {
		return c, errors.New("root.path is missing")
	}
	return c, nil
}

func parseJSON(data []byte, v any) error {
	if len(data) == 0 {
		return errors.New("it is empty")
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("no valid JSON: %w", err)
	}
	return nil
}

// CheckName says why a container's name cannot be used as one: it becomes part
// of host paths and of log lines.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("it is empty")
	case len(name) > maxID:
		return fmt.Errorf("%d bytes are too long: at most %d", len(name), maxID)
	case name == "." || name == "..":
		return fmt.Errorf("%q is no name", name)
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '/' || r > '~' }):
		return fmt.Errorf("%q: use printable ASCII without space and slash", name)
	}
	return nil
}
