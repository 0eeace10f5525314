package wrapper

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"

	"devlog/internal/annotation"
	"devlog/internal/file"
)

// maxConfig is the largest configuration, in bytes.
const maxConfig = 16 << 20

// addTo adds our hooks to the configuration file. It replaces the file in one step, and keeps
// its mode and owner.
func addTo(path string, hook func(stage string) specs.Hook) error {
	old, info, err := readConfig(path)
	if err != nil {
		return fmt.Errorf("cannot read the container's configuration: %w", err)
	}
	text, err := addHooks(old, hook)
	if err != nil {
		return fmt.Errorf("cannot read the container's configuration %s: %w", path, err)
	}
	if bytes.Equal(text, old) {
		return nil
	}
	if err := replace(path, text, info); err != nil {
		return fmt.Errorf("cannot add hooks to the container's configuration: %w", err)
	}
	return nil
}

// readConfig returns the content and attributes of the file.
func readConfig(path string) ([]byte, os.FileInfo, error) {
	f, err := file.OpenRegular(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	data, err := file.ReadAll(f, maxConfig)
	return data, info, err
}

// replace replaces the file in one step. The new file has the old one's mode and owner. A link
// is replaced, not its target, which others may use.
func replace(name string, text []byte, old os.FileInfo) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".devlog-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name()) //nolint:errcheck // the first error is the one to report
		}
	}()
	_, err = f.Write(text)
	if st, ok := old.Sys().(*syscall.Stat_t); ok && err == nil && (int(st.Uid) != os.Geteuid() || int(st.Gid) != os.Getegid()) {
		err = f.Chown(int(st.Uid), int(st.Gid))
	}
	if err == nil {
		err = f.Chmod(old.Mode().Perm())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// addHooks returns the configuration with our hooks added to each of the stages, after the
// hooks there. Everything else stays the same, byte for byte. It returns the configuration
// unchanged if our hooks are there already, or not wanted.
func addHooks(config []byte, hook func(stage string) specs.Hook) ([]byte, error) {
	unwanted, err := unwanted(config)
	if err != nil || unwanted {
		return config, err
	}
	return setMember(config, "hooks", func(hooks []byte) ([]byte, error) {
		if there, err := hasOurs(hooks); err != nil || there {
			return hooks, err
		}
		for _, stage := range stages {
			entry, err := json.Marshal(hook(stage))
			if err != nil {
				return nil, err
			}
			if hooks, err = setMember(hooks, stage, func(list []byte) ([]byte, error) {
				return appendElement(list, entry)
			}); err != nil {
				return nil, fmt.Errorf("hooks: %w", err)
			}
		}
		return hooks, nil
	})
}

// offVariable in the container's environment turns our hooks off, like the annotation
// devlog.dev/log: off.
const offVariable = "devlog=off"

// unwanted returns whether our hooks are turned off for the container.
func unwanted(config []byte) (bool, error) {
	var c struct { // not specs.Spec: errors in the rest do not matter
		Annotations map[string]string `json:"annotations"`
		Process     *struct {
			Env []string `json:"env"`
		} `json:"process"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return false, fmt.Errorf("not valid JSON: %w", err)
	}
	said, _ := annotation.Ours(c.Annotations, annotation.PodOf(c.Annotations).Container)
	switch {
	case said[annotation.Log].Value == annotation.Off, annotation.Sandbox(c.Annotations):
		return true, nil
	case c.Process == nil:
		return false, nil
	}
	return slices.Contains(c.Process.Env, offVariable), nil
}

// hasOurs returns whether our hook is among the hooks, at any stage and with any options: then
// somebody else has added it.
func hasOurs(hooks []byte) (bool, error) {
	if hooks == nil {
		return false, nil
	}
	var stages map[string][]struct {
		Path string `json:"path"`
	}
	if err := json.Unmarshal(hooks, &stages); err != nil {
		return false, fmt.Errorf("hooks: %w", err)
	}
	for _, list := range stages {
		for _, h := range list {
			if filepath.Base(h.Path) == hookName {
				return true, nil
			}
		}
	}
	return false, nil
}

// member is a member of a JSON object, with the offsets of its value.
type member struct {
	name     string
	from, to int
}

// members returns the object's members, and the offset of its last brace.
func members(object []byte) (list []member, end int, err error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, 0, errors.New("not an object")
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, 0, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, 0, err
		}
		to := int(d.InputOffset())
		list = append(list, member{name.(string), to - len(value), to})
	}
	if _, err := d.Token(); err != nil {
		return nil, 0, err
	}
	return list, int(d.InputOffset()) - 1, nil
}

// setMember returns the object with one member changed. change gets the member's value (nil if
// absent or null), and returns the new value, or the same.
func setMember(object []byte, name string, change func(value []byte) ([]byte, error)) ([]byte, error) {
	if object == nil {
		object = []byte("{}")
	}
	list, end, err := members(object)
	if err != nil {
		return nil, err
	}
	found := -1
	for i, m := range list {
		// Runtimes in Go accept a key in other case, and the last of several: what they would
		// do with these cannot be known.
		if strings.EqualFold(m.name, name) {
			if m.name != name || found >= 0 {
				return nil, fmt.Errorf("key %q is duplicated or differs in case", name)
			}
			found = i
		}
	}
	var value []byte
	if found >= 0 && string(object[list[found].from:list[found].to]) != "null" {
		value = object[list[found].from:list[found].to]
	}
	changed, err := change(value)
	switch {
	case err != nil:
		return nil, err
	case bytes.Equal(changed, value):
		return object, nil
	case found >= 0:
		return slices.Concat(object[:list[found].from], changed, object[list[found].to:]), nil
	}
	return slices.Concat(object[:end], comma(len(list)), []byte(`"`+name+`":`), changed, object[end:]), nil
}

// appendElement returns the array with one more element. nil is an empty array.
func appendElement(array, element []byte) ([]byte, error) {
	if array == nil {
		array = []byte("[]")
	}
	var list []json.RawMessage
	if err := json.Unmarshal(array, &list); err != nil {
		return nil, err
	}
	end := len(array) - 1 // an array ends with a bracket
	return slices.Concat(array[:end], comma(len(list)), element, array[end:]), nil
}

// comma returns the separator before a new element, after that many elements.
func comma(before int) []byte {
	if before == 0 {
		return nil
	}
	return []byte(",")
}
