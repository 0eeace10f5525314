// Package hook owns the call: what a container runtime says to a hook when it
// runs one, and which container that means.
package hook

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Stage is a point in a container's life at which OCI runtimes run hooks
// (runtime-spec, config.md, "POSIX-platform Hooks").
type Stage string

// The stages at which a repair can be made from the host: both run in the
// runtime's namespaces, when the container's mounts are in place and before
// pivot_root(2). prestart is deprecated by the specification, and still the
// one that every engine passes on.
const (
	Prestart      Stage = "prestart"
	CreateRuntime Stage = "createRuntime"
)

// ParseStage returns the stage of that name.
func ParseStage(name string) (Stage, error) {
	switch s := Stage(name); s {
	case Prestart, CreateRuntime:
		return s, nil
	case "":
		return "", errors.New("which stage? add --stage prestart or --stage createRuntime")
	default:
		return "", fmt.Errorf("stage %q cannot be used: use prestart or createRuntime", name)
	}
}

const (
	maxState  = 1 << 20 // bytes of a state; annotations make up most of it
	maxConfig = 16 << 20
	maxID     = 255 // NAME_MAX: the ID becomes a directory's name
)

// Container is what a hook needs to know of the container it was run for.
type Container struct {
	// ID is the container's ID: a name without a slash, at most 255 bytes.
	ID string
	// PID is the container's first process, as the hook sees it.
	PID int
	// Rootfs is the absolute path of the container's root directory in the
	// mount namespace of the process PID, before pivot_root(2).
	Rootfs string
}

// ReadOCI reads a container's state (runtime-spec, runtime.md, "State") as a
// runtime writes it on a hook's standard input, and what the container's
// config.json says of its root. Unknown fields are passed over. With an error
// it returns the ID alone, where that could be read.
func ReadOCI(r io.Reader) (Container, error) {
	state, err := parseState(r)
	known := Container{}
	if CheckName(state.ID) == nil {
		known.ID = state.ID
	}
	if err != nil {
		return known, fmt.Errorf("read the container's state from standard input: %w", err)
	}
	config := filepath.Join(state.Bundle, "config.json")
	f, err := os.Open(config)
	if err != nil {
		return known, fmt.Errorf("read the container's configuration: %w", err)
	}
	defer f.Close()
	root, err := parseConfig(f)
	if err != nil {
		return known, fmt.Errorf("read the container's configuration %s: %w", config, err)
	}
	if !filepath.IsAbs(root) {
		root = filepath.Join(state.Bundle, root)
	}
	return Container{ID: state.ID, PID: state.Pid, Rootfs: root}, nil
}

func parseState(r io.Reader) (specs.State, error) {
	var s specs.State
	if err := readJSON(r, maxState, &s); err != nil {
		return s, err
	}
	if err := CheckName(s.ID); err != nil {
		return s, fmt.Errorf("bad id: %w", err)
	}
	if s.Pid < 1 {
		return s, fmt.Errorf("pid is %d: want the container's first process, as prestart and createRuntime hooks get it", s.Pid)
	}
	if !filepath.IsAbs(s.Bundle) {
		return s, fmt.Errorf("bundle is %q: want an absolute path", s.Bundle)
	}
	return s, nil
}

func parseConfig(r io.Reader) (rootPath string, err error) {
	var c struct { // not specs.Spec: nothing else has to be well-formed
		Root *specs.Root `json:"root"`
	}
	if err := readJSON(r, maxConfig, &c); err != nil {
		return "", err
	}
	if c.Root == nil || c.Root.Path == "" {
		return "", errors.New("root.path is missing")
	}
	return c.Root.Path, nil
}

func readJSON(r io.Reader, limit int64, v any) error {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return err
	case int64(len(data)) > limit:
		return fmt.Errorf("more than %d bytes", limit)
	case len(data) == 0:
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
