package configfile

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"devlog/hooks"
	"devlog/internal/usage"
)

// What containerd 2.4.2 and 1.6.20 print.
const (
	dump2 = `version = 4
imports = ['/etc/containerd/conf.d/*.toml']

[debug]
  level = 'BinaryName = "x"'

[plugins]
  [plugins.'io.containerd.cri.v1.runtime']
    [plugins.'io.containerd.cri.v1.runtime'.containerd]
        [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
          runtime_type = 'io.containerd.runc.v2'
          pod_annotations = []

          [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
            BinaryName = ''
            IoGid = 0
            NoNewKeyring = true
            Root = ''
            SystemdCgroup = true
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.other.options]
            ShimCgroup = '/x'
`
	dump1 = `version = 2
imports = ["/etc/containerd/config.toml"]
[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
          [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
            BinaryName = "/opt/bin/crun"
            IoGid = 0
            SystemdCgroup = false
`
)

func TestParseContainerd(t *testing.T) {
	for _, tt := range []struct {
		name, dump string
		want       nodeContainerd
	}{
		{"2", dump2, nodeContainerd{version: 4, imports: "['/etc/containerd/conf.d/*.toml']", options: []string{"NoNewKeyring = true", "SystemdCgroup = true"}}},
		{"1", dump1, nodeContainerd{version: 2, imports: `["/etc/containerd/config.toml"]`, binary: "/opt/bin/crun"}},
		{"nothing", "", nodeContainerd{}},
		{"no TOML", "version = x\n[\n]\n = \n", nodeContainerd{}},
	} {
		if got := parseContainerd(tt.dump); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func FuzzParseContainerd(f *testing.F) {
	f.Add(dump1)
	f.Add(dump2)
	f.Fuzz(func(t *testing.T, dump string) {
		for _, option := range parseContainerd(dump).options {
			if strings.Contains(option, "\n") || !strings.Contains(option, " = ") {
				t.Errorf("option %q", option)
			}
		}
	})
}

func TestContainerdFile(t *testing.T) {
	const own = "    SystemdCgroup = true\n"
	systemd := []string{"SystemdCgroup = true"}
	imports := "['/etc/containerd/conf.d/*.toml']"
	for _, tt := range []struct {
		name, kind string
		node       nodeContainerd
		own        string // what is added behind the program's path
		advice     string
		err        string
	}{
		{"no containerd", containerd2, nodeContainerd{}, "", "cannot ask containerd", ""},
		{"2", containerd2, nodeContainerd{version: 4, imports: imports, options: systemd}, own, "", ""},
		{"2, with our runtime as its only one", containerd2, nodeContainerd{version: 4, imports: imports, binary: "/usr/libexec/devlog/devlog-runtime"}, "", "", ""},
		{"2 without imports", containerd2, nodeContainerd{version: 3}, "", "add imports = [", ""},
		{"2 with another runtime", containerd2, nodeContainerd{version: 3, imports: imports, binary: "/x/crun"}, "", "set DEVLOG_RUNTIME=/x/crun", ""},
		{"1 for 2", containerd2, nodeContainerd{version: 2}, "", "", "use config containerd1"},
		{"1", containerd1, nodeContainerd{version: 2, options: systemd}, own, "", ""},
		{"2 for 1", containerd1, nodeContainerd{version: 3}, "", "", "use config containerd"},
	} {
		text, err := hooks.File("devlog."+tt.kind+".toml", "/opt/x")
		if err != nil {
			t.Fatal(err)
		}
		got, advice, err := tt.node.with(tt.kind, text)
		if tt.err != "" {
			if !errors.As(err, new(usage.Error)) || !strings.HasSuffix(err.Error(), tt.err) {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		const binary = "    BinaryName = \"/opt/x/devlog-runtime\"\n"
		if err != nil || got != strings.Replace(text, binary, binary+tt.own, 1) || !strings.Contains(got, binary) {
			t.Errorf("%s: %v\n%s", tt.name, err, got)
		}
		if !strings.Contains(advice, tt.advice) || tt.advice == "" && advice != "" {
			t.Errorf("%s: advice %q", tt.name, advice)
		}
	}
}
