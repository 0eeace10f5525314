// Package hook owns a container runtime's call of a hook: what it passes, and which container
// it means.
package hook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

// Stage is a point in a container's life at which OCI runtimes run hooks
// (runtime-spec, config.md, "POSIX-platform Hooks").
type Stage string

// The stages. The specification deprecates prestart, but podman before 2.2 and runc before
// 1.0.0-rc91 do not know createRuntime.
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
		return "", fmt.Errorf("--stage is missing; hint: set it to one of %s", strings.Join(stageNames(), ", "))
	}
	return "", fmt.Errorf("unknown stage %q: want one of %s", name, strings.Join(stageNames(), ", "))
}

func stageNames() (names []string) {
	for _, s := range stages {
		names = append(names, string(s))
	}
	return names
}

// OnHost returns whether hooks of the stage run in the runtime's namespaces.
func (s Stage) OnHost() bool { return s != CreateContainer && s != StartContainer }

const (
	maxState  = 1 << 20 // bytes of a state; annotations make up most of it
	maxConfig = 16 << 20
	maxID     = 255 // NAME_MAX: the ID becomes a directory's name
)

// Container is what a hook knows about its container.
type Container struct {
	// ID is the container's ID: a name without a slash, at most 255 bytes.
	ID string
	// PID is the container's first process, as the hook sees it; 0 at stages that do not need
	// it. At startContainer it is the runtime's number, which may be 0 or the host's.
	PID int
	// Rootfs is the absolute path of the container's root directory on the host: in the mount
	// namespace of PID until pivot_root(2). It is empty at startContainer, and at poststop if
	// it is not known.
	Rootfs string
	// Annotations are the container's annotations (runtime-spec, config.md, "Annotations").
	Annotations map[string]string
	// Env is the environment of the container's process, NAME=VALUE each.
	Env []string
	// Hostname is the container's host name in its config.json; empty if it has none.
	Hostname string
}

// ReadOCI reads the container's state (runtime-spec, runtime.md, "State"), which the runtime
// writes to a hook's standard input, and the container's config.json. It ignores unknown
// fields. With an error it returns only the ID, if that could be read.
func ReadOCI(r io.Reader, stage Stage) (Container, error) {
	state, err := parseState(r, stage)
	known := Container{}
	if CheckName(state.ID) == nil {
		known.ID = state.ID
	}
	if err != nil {
		return known, fmt.Errorf("cannot read the container's state from standard input: %w", err)
	}
	c := Container{ID: state.ID, Annotations: state.Annotations}
	if stage != CreateContainer && stage != Poststop {
		c.PID = state.Pid // the runtime's number is wrong where the host's /proc is mounted
	}
	if stage == StartContainer {
		return c, nil // the container cannot see the bundle
	}
	config, err := readConfig(filepath.Join(state.Bundle, "config.json"))
	if stage == Poststop && err != nil {
		return c, nil //nolint:nilerr // the bundle may be gone, and poststop must not fail
	}
	if err != nil {
		return known, fmt.Errorf("cannot read the container's configuration: %w", err)
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

const (
	// peekTime is how long PeekOCI waits for the state, in ms.
	peekTime = 200
	// peekSize is how much of the state it reads, in bytes.
	peekSize = 64 << 10
)

// PeekOCI returns what the state on standard input says, without the container's config.json.
// There may be none: it waits for a moment only, and does not read from a terminal.
func PeekOCI(stdin io.Reader) (Container, error) {
	if f, ok := stdin.(*os.File); ok {
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Mode&unix.S_IFMT == unix.S_IFCHR {
			return Container{}, errNoState
		}
		fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, peekTime); err != nil || n == 0 {
			return Container{}, errNoState
		}
	}
	state := make([]byte, peekSize)
	n, _ := stdin.Read(state) // one read: the other end may stay open
	return ReadOCI(bytes.NewReader(state[:max(n, 0)]), StartContainer)
}

var errNoState = errors.New("no state on standard input")

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
		return s, fmt.Errorf("pid is %d, which is not a process: %s hooks get the container's first process; hint: set --stage to the stage at which the hook runs, such as %s",
			s.Pid, stage, CreateContainer)
	}
	if stage != StartContainer && !filepath.IsAbs(s.Bundle) {
		return s, fmt.Errorf("bundle is %q: want an absolute path", s.Bundle)
	}
	return s, nil
}

// config is the part of a config.json that matters here. It is not a specs.Spec, so other
// errors in the file do not matter.
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
		return fmt.Errorf("not valid JSON: %w", err)
	}
	return nil
}

// CheckName returns an error if the container's name cannot be used in host paths and log
// lines.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("it is empty")
	case len(name) > maxID:
		return fmt.Errorf("%d bytes are too long: at most %d", len(name), maxID)
	case name == "." || name == "..":
		return fmt.Errorf("%q is not a name", name)
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '/' || r > '~' }):
		return fmt.Errorf("%q: use printable ASCII without space and slash", name)
	}
	return nil
}
