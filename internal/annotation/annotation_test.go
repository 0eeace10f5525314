package annotation

import (
	"maps"
	"strings"
	"testing"
)

func TestOurs(t *testing.T) {
	for _, tt := range []struct {
		name      string
		all       map[string]string
		container string
		want      map[string]string // the name, and the key that counts
	}{
		{"none", nil, "", map[string]string{}},
		{"others'", map[string]string{"devlog.example/rules": "x", "devlogger": "x", "devlog": "off", "devlog.rules": "x", "devlog.dev.example/log": "x", "a/devlog": "x", "devlog/log": "x"}, "", map[string]string{}},
		{"new", map[string]string{"devlog.dev/rules": "x", "devlog.dev/log": "on"}, "", map[string]string{"rules": "devlog.dev/rules", "log": "devlog.dev/log"}},
		{"for one container", map[string]string{"devlog.dev/log.web": "on", "devlog.dev/log": "off"}, "web", map[string]string{"log": "devlog.dev/log.web"}},
		{"for another", map[string]string{"devlog.dev/log.web": "on", "devlog.dev/log": "off"}, "db", map[string]string{"log": "devlog.dev/log"}},
		{"for another, outside pods", map[string]string{"devlog.dev/log.web": "on"}, "", map[string]string{}},
		{"for none", map[string]string{"devlog.dev/log.": "on"}, "web", map[string]string{}},
		{"of another version", map[string]string{"devlog.dev/colour": "red"}, "", map[string]string{"colour": "devlog.dev/colour"}},
	} {
		said := Ours(tt.all, tt.container)
		got := make(map[string]string)
		for name, s := range said {
			got[name] = s.Key
			if s.Value != tt.all[s.Key] {
				t.Errorf("%s: %s is %q", tt.name, s.Key, s.Value)
			}
		}
		if !maps.Equal(got, tt.want) {
			t.Errorf("%s: %v; want %v", tt.name, got, tt.want)
		}
	}
}

func FuzzOurs(f *testing.F) {
	f.Add("devlog.dev/log.web", "web")
	f.Add("devlog", "")
	f.Add("devlog.dev/rules", "x")
	f.Fuzz(func(t *testing.T, key, container string) {
		for name, s := range Ours(map[string]string{key: "x"}, container) {
			if s.Key != key || s.Value != "x" || !strings.HasPrefix(key, Prefix) {
				t.Errorf("%q is %q", key, name)
			}
		}
	})
}

func TestPodOf(t *testing.T) {
	want := Pod{"shop", "web-0", "nginx"}
	for name, all := range map[string]map[string]string{
		"containerd": {"io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.sandbox-name": "web-0", "io.kubernetes.cri.container-name": "nginx"},
		"CRI-O":      {"io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.name": "web-0", "io.kubernetes.container.name": "nginx"},
		"CRI-O, with a pod that calls itself another": {"io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.pod.namespace": "shop",
			"io.kubernetes.pod.name": "web-0", "io.kubernetes.container.name": "nginx", "io.kubernetes.cri.sandbox-namespace": "kube-system",
			"io.kubernetes.cri.sandbox-name": "etcd", "io.kubernetes.cri.container-name": "etcd"},
		"ours": want.Annotations(),
	} {
		if got := PodOf(all); got != want || got.String() != "shop_web-0_nginx" {
			t.Errorf("%s: %v", name, got)
		}
	}
	for name, all := range map[string]map[string]string{
		"none": nil,
		"its sandbox": {"io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.sandbox-name": "web-0",
			"io.kubernetes.cri.container-type": "sandbox"},
	} {
		if got := PodOf(all); got != (Pod{}) || got.String() != "" {
			t.Errorf("%s: %v", name, got)
		}
		if Sandbox(all) != (all != nil) {
			t.Errorf("%s: %t", name, Sandbox(all))
		}
	}
}
