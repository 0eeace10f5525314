package annotation

// Pod is a container's name in Kubernetes.
type Pod struct {
	Namespace, Name, Container string
}

// podKeys are the annotations by which an engine tells hooks and runtimes about pods.
type podKeys struct{ namespace, name, container string }

var (
	// containerdKeys are containerd's (pkg/cri/annotations).
	containerdKeys = podKeys{"io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri.sandbox-name", "io.kubernetes.cri.container-name"}
	// crioKeys are the kubelet's labels (k8s.io/cri-client, KubernetesPodNameLabel and
	// others), which CRI-O gives to containers as annotations.
	crioKeys = podKeys{"io.kubernetes.pod.namespace", "io.kubernetes.pod.name", "io.kubernetes.container.name"}
)

// The annotations, and their values, of a container that holds a pod's namespaces:
// containerd's and CRI-O's.
const (
	containerdType = "io.kubernetes.cri.container-type"
	crioType       = "io.kubernetes.cri-o.ContainerType"
	sandbox        = "sandbox"
)

// PodOf returns the name in Kubernetes of the container with these annotations. It is zero
// outside Kubernetes, and for a container that only holds a pod's namespaces. CRI-O also
// passes on a pod's own annotations, by which a pod could claim another's name, so for CRI-O
// only those count that CRI-O itself sets.
func PodOf(all map[string]string) Pod {
	k := containerdKeys
	if _, crio := all[crioType]; crio {
		k = crioKeys
	}
	p := Pod{Namespace: all[k.namespace], Name: all[k.name], Container: all[k.container]}
	if p.Namespace == "" || p.Name == "" || p.Container == "" {
		return Pod{}
	}
	return p
}

// Sandbox returns whether the container with these annotations only holds a pod's namespaces.
// Nothing logs there.
func Sandbox(all map[string]string) bool {
	return all[containerdType] == sandbox || all[crioType] == sandbox
}

// Annotations returns annotations for which PodOf returns p.
func (p Pod) Annotations() map[string]string {
	k := containerdKeys
	return map[string]string{k.namespace: p.Namespace, k.name: p.Name, k.container: p.Container}
}

// String returns NAMESPACE_POD_CONTAINER, as the kubelet names the directories of pods' logs:
// none of the three can have an underscore. It returns "" for a zero Pod.
func (p Pod) String() string {
	if p == (Pod{}) {
		return ""
	}
	return p.Namespace + "_" + p.Name + "_" + p.Container
}
