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
		old       string
	}{
		{"none", nil, "", map[string]string{}, ""},
		{"others'", map[string]string{"devlog.example/rules": "x", "devlogger": "x", "devlog.dev.example/log": "x", "a/devlog": "x", "devlog/log": "x"}, "", map[string]string{}, ""},
		{"new", map[string]string{"devlog.dev/rules": "x", "devlog.dev/log": "on"}, "", map[string]string{"rules": "devlog.dev/rules", "log": "devlog.dev/log"}, ""},
		{"old", map[string]string{"devlog.rules": "x", "devlog": "off"}, "", map[string]string{"rules": "devlog.rules", "log": "devlog"}, "devlog"},
		{"both", map[string]string{"devlog.rules": "x", "devlog.dev/rules": "y"}, "", map[string]string{"rules": "devlog.dev/rules"}, ""},
		{"one of them old", map[string]string{"devlog": "on", "devlog.dev/log": "on", "devlog.socket": "x"}, "", map[string]string{"log": "devlog.dev/log", "socket": "devlog.socket"}, "devlog.socket"},
		{"for one container", map[string]string{"devlog.dev/log.web": "on", "devlog.dev/log": "off"}, "web", map[string]string{"log": "devlog.dev/log.web"}, ""},
		{"for another", map[string]string{"devlog.dev/log.web": "on", "devlog.dev/log": "off"}, "db", map[string]string{"log": "devlog.dev/log"}, ""},
		{"for another, outside pods", map[string]string{"devlog.dev/log.web": "on"}, "", map[string]string{}, ""},
		{"for none", map[string]string{"devlog.dev/log.": "on"}, "web", map[string]string{}, ""},
		{"of another version", map[string]string{"devlog.dev/colour": "red"}, "", map[string]string{"colour": "devlog.dev/colour"}, ""},
	} {
		said, old := Ours(tt.all, tt.container)
		got := make(map[string]string)
		for name, s := range said {
			got[name] = s.Key
			if s.Value != tt.all[s.Key] {
				t.Errorf("%s: %s is %q", tt.name, s.Key, s.Value)
			}
		}
		if !maps.Equal(got, tt.want) || old != tt.old {
			t.Errorf("%s: %v, %q; want %v, %q", tt.name, got, old, tt.want, tt.old)
		}
	}
	if got := NewName("devlog") + " " + NewName("devlog.rules"); got != "devlog.dev/log devlog.dev/rules" {
		t.Errorf("the new names are %s", got)
	}
}

func FuzzOurs(f *testing.F) {
	f.Add("devlog.dev/log.web", "web")
	f.Add("devlog", "")
	f.Add("devlog.dev/rules", "x")
	f.Fuzz(func(t *testing.T, key, container string) {
		said, old := Ours(map[string]string{key: "x"}, container)
		for name, s := range said {
			if s.Key != key || s.Value != "x" || !strings.HasPrefix(key, "devlog") || strings.Contains(key, "/") && !strings.HasPrefix(key, Prefix) {
				t.Errorf("%q is %q", key, name)
			}
		}
		if old != "" && (old != key || len(said) != 1 || !strings.HasPrefix(NewName(old), Prefix)) {
			t.Errorf("%q is old as %q", key, old)
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
