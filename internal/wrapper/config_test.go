package wrapper

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func testHook(stage string) specs.Hook {
	return specs.Hook{Path: "/opt/devlog-hook", Args: []string{stage}}
}

const entry = `{"path":"/opt/devlog-hook","args":["prestart"]}`

func TestAddHooks(t *testing.T) {
	for _, tt := range []struct {
		name, config, want, err string
	}{
		{"none", `{"a":1}`, `{"a":1,"hooks":{"prestart":[` + entry + `]}}`, ""},
		{"empty", `{}`, `{"hooks":{"prestart":[` + entry + `]}}`, ""},
		{"null", `{"hooks": null }`, `{"hooks": {"prestart":[` + entry + `]} }`, ""},
		{"no stage", "{\"hooks\":{}}\n", `{"hooks":{"prestart":[` + entry + "]}}\n", ""},
		{"null stage", `{"hooks":{"prestart":null}}`, `{"hooks":{"prestart":[` + entry + `]}}`, ""},
		{"empty stage", `{"hooks":{"prestart": [ ] }}`, `{"hooks":{"prestart": [ ` + entry + `] }}`, ""},
		{"others", `{"hooks":{"poststop":[{"path":"/x"}],"prestart":[{"path":"/y"} ],"future":[]},"z":{}}`,
			`{"hooks":{"poststop":[{"path":"/x"}],"prestart":[{"path":"/y"} ,` + entry + `],"future":[]},"z":{}}`, ""},
		{"all else as it was", "{\n\t\"z\" : 12345678901234567890.10e+2, \"\\u0061\":\"\\ud800<\xff\",\"z\":[1E5 , -0]\n}",
			"{\n\t\"z\" : 12345678901234567890.10e+2, \"\\u0061\":\"\\ud800<\xff\",\"z\":[1E5 , -0]\n,\"hooks\":{\"prestart\":[" + entry + "]}}", ""},
		{"escaped name", `{"\u0068ooks":{"prestart":[]}}`, `{"\u0068ooks":{"prestart":[` + entry + `]}}`, ""},
		{"ours elsewhere", `{"hooks":{"createRuntime":[{"path":"/usr/x/devlog-hook","timeout":3}]}}`, "same", ""},
		{"annotation", `{"annotations":{"devlog.dev/log":"off"}}`, "same", ""},
		{"annotation by its old name", `{"annotations":{"devlog":"off"}}`, "same", ""},
		{"annotation for this container", `{"annotations":{"devlog.dev/log.web":"off","io.kubernetes.cri.sandbox-namespace":"a","io.kubernetes.cri.sandbox-name":"b","io.kubernetes.cri.container-name":"web"}}`, "same", ""},
		{"annotation for another container", `{"annotations":{"devlog.dev/log.web":"off"}}`, `{"annotations":{"devlog.dev/log.web":"off"},"hooks":{"prestart":[` + entry + `]}}`, ""},
		{"another annotation", `{"annotations":{"devlog":"on"}}`, `{"annotations":{"devlog":"on"},"hooks":{"prestart":[` + entry + `]}}`, ""},
		{"environment", `{"process":{"env":["A=b","devlog=off"]}}`, "same", ""},
		{"another variable", `{"process":{"env":["xdevlog=off"]}}`, `{"process":{"env":["xdevlog=off"]},"hooks":{"prestart":[` + entry + `]}}`, ""},
		{"sandbox of containerd", `{"annotations":{"io.kubernetes.cri.container-type":"sandbox"}}`, "same", ""},
		{"sandbox of CRI-O", `{"annotations":{"io.kubernetes.cri-o.ContainerType":"sandbox"}}`, "same", ""},
		{"no JSON", `{"hooks":`, "", "not valid JSON"},
		{"more behind it", `{} {}`, "", "not valid JSON"},
		{"no object", `[]`, "", "not valid JSON"},
		{"nothing", ``, "", "not valid JSON"},
		{"null instead of all", `null`, "", "not an object"},
		{"hooks are no object", `{"hooks":[]}`, "", "hooks"},
		{"stage is no list", `{"hooks":{"prestart":{}}}`, "", "hooks"},
		{"hooks twice", `{"hooks":{},"hooks":{}}`, "", "duplicated"},
		{"in other letters", `{"Hooks":{"prestart":[{"path":"/x"}]}}`, "", "differs in case"},
		{"stage in other letters", `{"hooks":{"preStart":[{"path":"/x"}]}}`, "", "differs in case"},
	} {
		got, err := addHooks([]byte(tt.config), testHook)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: error %v, want one line with %q", tt.name, err, tt.err)
			}
			continue
		}
		want := tt.want
		if want == "same" {
			want = tt.config
		}
		if err != nil || string(got) != want {
			t.Errorf("%s: %v\n%s, want\n%s", tt.name, err, got, want)
			continue
		}
		again, err := addHooks(got, testHook)
		if err != nil || !bytes.Equal(again, got) {
			t.Errorf("%s, the second time: %v\n%s", tt.name, err, again)
		}
	}
}

// A real configuration keeps all that a runtime reads of it.
func TestAddHooksSpec(t *testing.T) {
	timeout := 5
	spec := specs.Spec{
		Version: specs.Version, Process: &specs.Process{Args: []string{"a"}, Env: []string{"X=\u2028<"}}, Root: &specs.Root{Path: "rootfs"},
		Hooks: &specs.Hooks{Prestart: []specs.Hook{{Path: "/first", Timeout: &timeout}}, Poststop: []specs.Hook{{Path: "/last"}}}, //nolint:staticcheck // still used by engines
		Linux: &specs.Linux{Resources: &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64)}}},
	}
	text, err := json.MarshalIndent(spec, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	got, err := addHooks(text, testHook)
	if err != nil {
		t.Fatal(err)
	}
	var after specs.Spec
	if err := json.Unmarshal(got, &after); err != nil {
		t.Fatal(err)
	}
	spec.Hooks.Prestart = append(spec.Hooks.Prestart, testHook("prestart")) //nolint:staticcheck // still used by engines
	if !reflect.DeepEqual(after, spec) {
		t.Errorf("%s", got)
	}
}

// A bundle that is never completed does not delay the engine.
func TestAddToNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := addTo(path, testHook); err == nil || !strings.Contains(err.Error(), "config.json is not a regular file") {
		t.Errorf("got %v", err)
	}
}

func TestAddTo(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.json")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	const with = `{"hooks":{"prestart":[` + entry + `]}}`
	if err := addTo(file, testHook); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("without a file: %v", err)
	}
	write(file, `{}`)
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := addTo(file, testHook); err != nil || read(file) != with {
		t.Errorf("%v: %s", err, read(file))
	}
	after, err := os.Stat(file)
	if err != nil || after.Mode() != before.Mode() || os.SameFile(before, after) {
		t.Errorf("%v: it has mode %v and had %v, or was written in place", err, after.Mode(), before.Mode())
	}
	if err := addTo(file, testHook); err != nil {
		t.Error(err)
	}
	if again, err := os.Stat(file); err != nil || !os.SameFile(again, after) {
		t.Errorf("%v: written though nothing changed", err)
	}
	// What the name leads to may be others' too.
	shared := filepath.Join(dir, "shared.json")
	write(shared, `{}`)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(shared, file); err != nil {
		t.Fatal(err)
	}
	if err := addTo(file, testHook); err != nil || read(file) != with || read(shared) != `{}` {
		t.Errorf("a link: %v: %s, and its target %s", err, read(file), read(shared))
	}
	for name, text := range map[string]string{"garbage": strings.Repeat("\x00\xff", 1<<19), "huge": strings.Repeat(" ", maxConfig) + "{}", "deep": `{"a":` + strings.Repeat("[", maxConfig/2)} {
		write(file, text)
		if err := addTo(file, testHook); err == nil || len(err.Error()) > 300 || name == "huge" && !strings.Contains(err.Error(), "more than") {
			t.Errorf("%s: %v", name, err)
		}
		if read(file) != text {
			t.Errorf("%s: the file was changed", name)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// FuzzAddHooks: what comes out is JSON, is the same but for the hooks, and is
// not changed the second time.
func FuzzAddHooks(f *testing.F) {
	f.Add(`{"a":[1,{"b":null}],"hooks":{"prestart":[{"path":"/x"}]},"c":1e400}`)
	f.Add(`{"hooks":null,"annotations":{"devlog":"off"}}`)
	f.Add(`{"hooks":{"poststop":[]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := addHooks([]byte(text), testHook)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than a line: %q", err)
			}
			return
		}
		if string(got) == text {
			return
		}
		var before, after map[string]json.RawMessage
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("%q became %q: %v", text, got, err)
		}
		if err := json.Unmarshal([]byte(text), &before); err != nil {
			t.Fatalf("accepted %q: %v", text, err)
		}
		if !strings.Contains(string(after["hooks"]), entry) {
			t.Errorf("not added: %q", got)
		}
		delete(before, "hooks")
		delete(after, "hooks")
		if !reflect.DeepEqual(before, after) {
			t.Errorf("%q became %q", text, got)
		}
		if again, err := addHooks(got, testHook); err != nil || !bytes.Equal(again, got) {
			t.Errorf("the second time %q: %v", again, err)
		}
	})
}
