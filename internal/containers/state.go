package containers

import (
	"cmp"
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"devlog/internal/annotation"
	"devlog/internal/file"
	"devlog/internal/hook"
)

// maxState is the most that is read of a runtime's or an engine's file, in bytes.
const maxState = 16 << 20

// The records of runtimes and systemd, which only root can write. Users' engines have records
// in /run/user, where a user could also write false ones about other containers.
var stateFiles = []struct{ dir, pattern, engine string }{
	{"/run/runc", "*/state.json", runc},
	{"/run/crun", "*/status", crun},
	{"/run/containerd/runc", "*/*/state.json", containerd},
	{"/run/docker/runtime-runc", "*/*/state.json", docker},
	{machines, "*", nspawn},
}

// machines is where systemd-machined(8) records machines.
const machines = "/run/systemd/machines"

// states returns the containers that runtimes record as running, and the directories of the
// records.
func (h Host) states(byPID map[int]process) (list []Container, dirs []string) {
	for _, s := range stateFiles {
		if info, err := os.Stat(h.path(s.dir)); err != nil || !info.IsDir() {
			continue
		}
		dirs = append(dirs, s.dir)
		matches, err := filepath.Glob(filepath.Join(h.path(s.dir), s.pattern))
		if err != nil {
			continue
		}
		for _, name := range matches {
			text, err := file.Read(name, maxState)
			if err != nil {
				continue
			}
			if s.dir == machines {
				if c, ok := parseMachine(path.Base(name), text); ok && byPID[c.PID].pid != 0 {
					c.started = byPID[c.PID].started
					list = append(list, c)
				}
				continue
			}
			st, ok := parseState(text)
			p := byPID[st.pid]
			if !ok || p.pid == 0 || st.started != 0 && st.started != p.started {
				continue // the container has ended
			}
			c := Container{ID: path.Base(path.Dir(name)), Engine: s.engine, PID: st.pid, started: p.started}
			if st.bundle != "" {
				h.readBundle(&c, st.bundle)
			}
			list = append(list, c)
		}
	}
	return list, dirs
}

// state is a runtime's record of a container.
type state struct {
	pid     int
	started uint64 // when the process started, in clock ticks; 0 if not recorded
	bundle  string
}

// parseState reads runc's state.json (libcontainer, State) or crun's status.
func parseState(text []byte) (state, bool) {
	var s struct {
		InitPID     int    `json:"init_process_pid"`
		InitStarted uint64 `json:"init_process_start"`
		Config      struct {
			Labels []string `json:"labels"`
		} `json:"config"`
		PID     int    `json:"pid"`
		Started uint64 `json:"process-start-time"`
		Bundle  string `json:"bundle"`
	}
	if json.Unmarshal(text, &s) != nil {
		return state{}, false
	}
	st := state{pid: cmp.Or(s.InitPID, s.PID), started: cmp.Or(s.InitStarted, s.Started), bundle: s.Bundle}
	for _, label := range s.Config.Labels {
		if bundle, ok := strings.CutPrefix(label, "bundle="); ok {
			st.bundle = bundle
		}
	}
	if !path.IsAbs(st.bundle) {
		st.bundle = ""
	}
	return st, st.pid > 0
}

// parseMachine reads a file of systemd-machined: lines NAME=VALUE. ok is false if the machine
// is not a container.
func parseMachine(name string, text []byte) (c Container, ok bool) {
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[key] = strings.Trim(value, `"`)
		}
	}
	pid, err := strconv.Atoi(values["LEADER"])
	if err != nil || pid <= 0 || values["CLASS"] != "container" {
		return Container{}, false
	}
	return Container{ID: name, Name: name, Engine: cmp.Or(values["SERVICE"], nspawn), PID: pid}, true
}

// nerdctlName is the annotation with nerdctl's name for a container.
const nerdctlName = "nerdctl/name"

// readBundle adds the container's name and annotations from the config.json in its bundle.
func (h Host) readBundle(c *Container, bundle string) {
	text, err := file.Read(h.path(filepath.Join(bundle, "config.json")), maxState)
	if err != nil {
		return
	}
	var config struct {
		Annotations map[string]string `json:"annotations"`
		Mounts      []struct {
			Destination string `json:"destination"`
			Source      string `json:"source"`
		} `json:"mounts"`
	}
	if json.Unmarshal(text, &config) != nil {
		return
	}
	c.Annotations = config.Annotations
	c.Sandbox = annotation.Sandbox(config.Annotations)
	if c.Sandbox {
		return
	}
	if c.Pod = annotation.PodOf(config.Annotations); c.Pod != (annotation.Pod{}) {
		c.Name = c.Pod.Container
		return
	}
	c.Name = cmp.Or(c.Name, config.Annotations[nerdctlName])
	for _, m := range config.Mounts {
		// Docker mounts files from the directory that also has the container's name.
		if dir := path.Dir(m.Source); m.Destination == "/etc/hostname" && path.Base(dir) == c.ID {
			c.Name = cmp.Or(h.dockerName(dir), c.Name)
		}
	}
}

// dockerName returns Docker's name for the container whose directory this is; empty if not
// known.
func (h Host) dockerName(dir string) string {
	text, err := file.Read(h.path(filepath.Join(dir, "config.v2.json")), maxState)
	var config struct {
		Name string
	}
	if err != nil || json.Unmarshal(text, &config) != nil {
		return ""
	}
	name := strings.TrimPrefix(config.Name, "/")
	if hook.CheckName(name) != nil {
		return ""
	}
	return name
}
