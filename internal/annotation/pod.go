package annotation

// Pod is what Kubernetes calls a container.
type Pod struct {
	Namespace, Name, Container string
}

// podKeys are the annotations by which a container engine tells hooks and runtimes
// about pods.
type podKeys struct{ namespace, name, container string }

var (
	// containerdKeys are containerd's (pkg/cri/annotations).
	containerdKeys = podKeys{"io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri.sandbox-name", "io.kubernetes.cri.container-name"}
	// crioKeys are the kubelet's labels (k8s.io/cri-client, KubernetesPodNameLabel and
	// others), which CRI-O gives to containers as annotations.
	crioKeys = podKeys{"io.kubernetes.pod.namespace", "io.kubernetes.pod.name", "io.kubernetes.container.name"}
)

// Annotations that say of a container that it holds a pod's namespaces, and of
// that kind of container: containerd's and CRI-O's.
const (
	containerdType = "io.kubernetes.cri.container-type"
	crioType       = "io.kubernetes.cri-o.ContainerType"
	sandbox        = "sandbox"
)

// PodOf returns what Kubernetes calls the container with these annotations. The
// result is zero for a container outside Kubernetes, and for one that holds a
// pod's namespaces. CRI-O passes all of a pod's annotations on, so that of a container
// of CRI-O only those count that it sets itself: a pod could call itself another's.
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

// Sandbox says that the container with these annotations holds a pod's namespaces.
// Nothing logs there.
func Sandbox(all map[string]string) bool {
	return all[containerdType] == sandbox || all[crioType] == sandbox
}

// Annotations are those from which PodOf returns p.
func (p Pod) Annotations() map[string]string {
	k := containerdKeys
	return map[string]string{k.namespace: p.Namespace, k.name: p.Name, k.container: p.Container}
}

// String is NAMESPACE_POD_CONTAINER, as the kubelet names the directories of
// pods' logs: none of the three can have an underscore. It is empty for a zero Pod.
func (p Pod) String() string {
	if p == (Pod{}) {
		return ""
	}
	return p.Namespace + "_" + p.Name + "_" + p.Container
}
