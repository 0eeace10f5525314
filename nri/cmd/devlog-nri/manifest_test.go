package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const deployed = "../../../deploy/kubernetes/"

// The manifest is what Kubernetes takes, field by field, and starts this program with
// options that it has.
func TestManifest(t *testing.T) {
	text, err := os.ReadFile(deployed + "devlog.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var set appsv1.DaemonSet
	var kinds []string
	for _, document := range bytes.Split(text, []byte("\n---\n"))[1:] {
		var what struct{ Kind string }
		if err := yaml.Unmarshal(document, &what); err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, what.Kind)
		var into any = &set
		if what.Kind == "Namespace" {
			into = &corev1.Namespace{}
		}
		if err := yaml.UnmarshalStrict(document, into); err != nil {
			t.Errorf("%s: %v", what.Kind, err)
		}
	}
	if !slices.Equal(kinds, []string{"Namespace", "DaemonSet"}) {
		t.Fatalf("it has %q", kinds)
	}
	pod := set.Spec.Template.Spec
	plugin, install := pod.Containers[0], pod.InitContainers[0]
	s, err := parse(plugin.Args, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(s.Rules) != "[*.* container-stdout]" || s.All || s.AllDev || s.Repair != pod.HostPID {
		t.Errorf("options %+v", s)
	}
	if !slices.Equal(install.Args, []string{"install", s.Dir}) {
		t.Errorf("the programs are installed by %q, and looked for in %s", install.Args, s.Dir)
	}
	paths := make(map[string]string) // by the volume's name, on the node
	for _, v := range pod.Volumes {
		paths[v.Name] = v.HostPath.Path
	}
	for _, m := range slices.Concat(plugin.VolumeMounts, install.VolumeMounts) {
		if paths[m.Name] != m.MountPath {
			t.Errorf("%s is %s on the node and %s in the pod", m.Name, paths[m.Name], m.MountPath)
		}
	}
	if !strings.HasPrefix(s.socket, paths["socket"]+"/") {
		t.Errorf("the socket %s is not in %s", s.socket, paths["socket"])
	}
	for _, c := range []corev1.Container{plugin, install} {
		if x := c.SecurityContext; !*x.ReadOnlyRootFilesystem || !slices.Equal(x.Capabilities.Drop, []corev1.Capability{"ALL"}) || x.Privileged != nil {
			t.Errorf("%s: %+v", c.Name, x)
		}
	}
	if set.Spec.Template.Annotations["devlog.dev/log"] != "off" || *pod.AutomountServiceAccountToken {
		t.Error("the pod has rights or a log that it has no use for")
	}
}

// The other files have no fields but those that are known.
func TestKustomization(t *testing.T) {
	for name, into := range map[string]any{
		"kustomization.yaml": &struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Resources  []string
			Images     []struct{ Name, NewName, NewTag string }
		}{},
		"chart/Chart.yaml": &struct {
			APIVersion                                                string `json:"apiVersion"`
			Name, Description, Type, Version, AppVersion, KubeVersion string
		}{},
	} {
		text, err := os.ReadFile(deployed + name)
		if err == nil {
			err = yaml.UnmarshalStrict(text, into)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The options in the document are those of this program.
func TestDocumentedOptions(t *testing.T) {
	text, err := os.ReadFile("../../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	var help bytes.Buffer
	if _, err := parse([]string{"--help"}, &help); err == nil {
		t.Error("--help is no error")
	}
	rows := regexp.MustCompile("(?m)^\\| `--([a-z-]+)").FindAllStringSubmatch(string(text), -1)
	for _, row := range rows {
		if !strings.Contains(help.String(), "\n  -"+row[1]) {
			t.Errorf("there is no --%s", row[1])
		}
	}
	if len(rows) < 6 {
		t.Errorf("the document has only %d options", len(rows))
	}
}
