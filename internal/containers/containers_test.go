package containers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"devlog/internal/annotation"
)

var (
	idA = strings.Repeat("a1b2", 16)
	idB = strings.Repeat("b1c2", 16)
	idC = strings.Repeat("c1d2", 16)
)

// tree is a host's root directory.
type tree struct {
	t    *testing.T
	root string
}

func newTree(t *testing.T) *tree {
	h := &tree{t, t.TempDir()}
	h.process(1, 0, "systemd", "0::/init.scope", "")
	h.link("proc/self", "1")
	return h
}

func (h *tree) host() Host { return Host{Root: h.root, Self: "self"} }

func (h *tree) write(name, text string) {
	h.t.Helper()
	name = filepath.Join(h.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o600)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *tree) link(name, to string) {
	h.t.Helper()
	name = filepath.Join(h.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.Symlink(to, name)); err != nil {
		h.t.Fatal(err)
	}
}

// process adds a process of the host's namespaces, or of those that are called so.
func (h *tree) process(pid, parent int, comm, cgroup, namespaces string, args ...string) {
	h.t.Helper()
	dir := "proc/" + strconv.Itoa(pid)
	h.write(dir+"/stat", fmt.Sprintf("%d (%s) S %d 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0", pid, comm, parent, 100*pid))
	h.write(dir+"/cgroup", cgroup+"\n")
	h.write(dir+"/cmdline", strings.Join(args, "\x00")+"\x00")
	h.link(dir+"/ns/mnt", "mnt:["+namespaces+"]")
	h.link(dir+"/ns/pid", "pid:["+namespaces+"]")
}

// conmon adds a monitor of podman's and the first process of its container.
func (h *tree) conmon(pid int, id, name string) {
	h.process(pid, 1, "conmon", "0::/machine.slice/libpod-conmon-"+id+".scope", "", "/usr/bin/conmon", "-c", id, "-n", name,
		"-b", "/storage/"+id, "--exit-command", "/usr/bin/podman", "--exit-command-arg", "-e")
	h.process(pid+1, pid, "sh", "0::/machine.slice/libpod-"+id+".scope/container", "c"+id)
}

func TestList(t *testing.T) {
	for name, tt := range map[string]struct {
		build func(h *tree)
		want  []Container
	}{
		"nothing": {func(*tree) {}, nil},
		"podman": {func(h *tree) {
			h.conmon(20, idA, "web")
			h.process(30, 21, "worker", "0::/machine.slice/libpod-"+idA+".scope/container/x", "c"+idA)
			h.process(31, 20, "devlogd", "0::/machine.slice/libpod-conmon-"+idA+".scope", "")
		}, []Container{{ID: idA, Name: "web", Engine: podman, PID: 21}}},
		"podman, a command in it": {func(h *tree) {
			h.conmon(20, idA, "web")
			h.process(10, 1, "conmon", "0::/machine.slice/libpod-conmon-"+idA+".scope", "", "conmon", "-c", idA, "-n", "web", "-e")
		}, []Container{{ID: idA, Name: "web", Engine: podman, PID: 21}}},
		"podman without root": {func(h *tree) {
			h.process(20, 1, "conmon", "0::/user.slice/libpod-conmon-"+idA+".scope", "", "conmon", "--cid="+idA, "--name=web", "-b", "/x")
			h.process(21, 20, "sh", "0::/user.slice/libpod-"+idA+".scope", "u")
		}, []Container{{ID: idA, Name: "web", Engine: podman, PID: 21}}},
		"podman without cgroups": {func(h *tree) {
			h.process(20, 1, "conmon", "0::/", "", "conmon", "-c", idA, "-n", "web")
			h.process(21, 20, "runc:[2:INIT]", "0::/", "x")
		}, []Container{{ID: idA, Name: "web", Engine: podman, PID: 21}}},
		"docker": {func(h *tree) {
			h.shim(40, "moby", idA)
			h.process(41, 40, "sh", "0::/system.slice/docker-"+idA+".scope", "d")
			h.write("tasks/"+idA+"/config.json", `{"mounts":[{"destination":"/etc/hostname","source":"/data/containers/`+idA+`/hostname"}]}`)
			h.write("data/containers/"+idA+"/config.v2.json", `{"ID":"x","Name":"/db","State":{"Pid":1}}`)
		}, []Container{{ID: idA, Name: "db", Engine: docker, PID: 41}}},
		"docker, a cgroup of the administrator's": {func(h *tree) {
			h.shim(40, "moby", idA)
			h.process(41, 40, "sh", "0::/tenants/"+idA, "d")
		}, []Container{{ID: idA, Engine: docker, PID: 41}}},
		"docker's name is none": {func(h *tree) {
			h.shim(40, "moby", idA)
			h.process(41, 40, "sh", "0::/docker/"+idA, "d")
			h.write("tasks/"+idA+"/config.json", `{"mounts":[{"destination":"/etc/hostname","source":"/data/`+idA+`/hostname"}]}`)
			h.write("data/"+idA+"/config.v2.json", `{"Name":"/../db"}`)
		}, []Container{{ID: idA, Engine: docker, PID: 41}}},
		"nerdctl": {func(h *tree) {
			h.shim(40, "default", idA)
			h.process(41, 40, "sh", "0::/system.slice/nerdctl-"+idA+".scope", "d")
			h.write("tasks/"+idA+"/config.json", `{"annotations":{"nerdctl/name":"cache"}}`)
		}, []Container{{ID: idA, Name: "cache", Engine: containerd, PID: 41}}},
		"a pod of containerd's": {func(h *tree) {
			const pod = `"io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-name":"web-0",`
			h.shim(40, "k8s.io", idA)
			h.process(41, 40, "pause", "0::/kubepods.slice/cri-containerd-"+idA+".scope", "d")
			h.process(42, 40, "nginx", "0::/kubepods.slice/cri-containerd-"+idB+".scope", "e")
			h.write("tasks/"+idA+"/config.json", `{"annotations":{`+pod+`"io.kubernetes.cri.container-type":"sandbox"}}`)
			h.write("tasks/"+idB+"/config.json", `{"annotations":{`+pod+`"io.kubernetes.cri.container-name":"nginx"}}`)
		}, []Container{{ID: idA, Engine: containerd, PID: 41, Sandbox: true},
			{ID: idB, Name: "nginx", Engine: containerd, PID: 42, Pod: annotation.Pod{Namespace: "shop", Name: "web-0", Container: "nginx"}}}},
		"a pod of CRI-O's": {func(h *tree) {
			h.process(20, 1, "conmon", "0::/kubepods.slice/crio-conmon-"+idA+".scope", "", "conmon", "-c", idA, "-n", "k8s_nginx_web-0_shop_uid_0", "-b", "/tasks/"+idA)
			h.process(21, 20, "nginx", "0::/kubepods.slice/crio-"+idA+".scope", "d")
			h.write("tasks/"+idA+"/config.json", `{"annotations":{"io.kubernetes.cri-o.ContainerType":"container","io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.name":"web-0","io.kubernetes.container.name":"nginx"}}`)
		}, []Container{{ID: idA, Name: "nginx", Engine: crio, PID: 21, Pod: annotation.Pod{Namespace: "shop", Name: "web-0", Container: "nginx"}}}},
		"LXC": {func(h *tree) {
			h.process(50, 1, "lxc-start", "0::/lxc.monitor.web", "", "[lxc monitor] /var/lib/lxc web")
			h.process(51, 50, "init", "1:pids:/lxc.payload.web\n0::/", "l")
		}, []Container{{ID: "web", Name: "web", Engine: lxc, PID: 51}}},
		"LXC beside a cgroup that was left": {func(h *tree) {
			h.process(50, 1, "lxc-start", "0::/lxc.monitor.web-1", "", "[lxc monitor] /var/lib/lxc web")
			h.process(51, 50, "init", "0::/lxc.payload.web-1", "l")
		}, []Container{{ID: "web", Name: "web", Engine: lxc, PID: 51}}},
		"LXC without cgroups": {func(h *tree) {
			h.process(50, 1, "lxc-start", "0::/", "", "[lxc monitor] /var/lib/my lxc web")
			h.process(51, 50, "init", "0::/", "l")
		}, []Container{{ID: "web", Name: "web", Engine: lxc, PID: 51}}},
		"podman within LXC": {func(h *tree) {
			h.process(50, 1, "lxc-start", "0::/lxc.monitor.web", "", "[lxc monitor] /var/lib/lxc web")
			h.process(51, 50, "init", "0::/lxc.payload.web", "l")
			h.process(60, 51, "conmon", "0::/lxc.payload.web", "l", "conmon", "-c", idA, "-n", "inner")
			h.process(61, 60, "sh", "0::/lxc.payload.web/libpod-"+idA, "m")
		}, []Container{{ID: "web", Name: "web", Engine: lxc, PID: 51}}},
		"one that takes another's name": {func(h *tree) {
			h.conmon(20, idA, "evil")
			h.process(22, 21, "conmon", "0::/machine.slice/libpod-"+idA+".scope", "c"+idA, "conmon", "-c", idB, "-n", "web")
			h.process(23, 22, "sh", "0::/machine.slice/libpod-"+idA+".scope/conmon-"+idB, "e")
		}, []Container{{ID: idA, Name: "evil", Engine: podman, PID: 21}}},
		"one that takes another's name, in the host's PID namespace": {func(h *tree) {
			h.conmon(20, idA, "evil")
			h.process(22, 21, "conmon", "0::/machine.slice/libpod-"+idA+".scope", "c"+idA, "conmon", "-c", idB, "-n", "web")
			h.process(23, 22, "sh", "0::/machine.slice/libpod-"+idA+".scope/conmon-"+idB, "e")
			for _, pid := range []string{"21", "22", "23"} {
				at := "proc/" + pid + "/ns/pid"
				if err := os.Remove(filepath.Join(h.root, at)); err != nil {
					h.t.Fatal(err)
				}
				h.link(at, "pid:[]")
			}
		}, []Container{{ID: idA, Name: "evil", Engine: podman, PID: 21}}},
		"a user's cgroup of that name": {func(h *tree) {
			h.process(10, 1, "sh", "0::/user.slice/user-7.slice/user@7.service/lxc.payload.web", "x")
			h.process(50, 1, "lxc-start", "0::/lxc.monitor.web", "", "[lxc monitor] /var/lib/lxc web")
			h.process(51, 50, "init", "0::/lxc.payload.web", "l")
		}, []Container{{ID: "web", Name: "web", Engine: lxc, PID: 51}}},
		"systemd-nspawn": {func(h *tree) {
			h.process(70, 1, "systemd-nspawn", `0::/machine.slice/machine-web\x2d1.scope/supervisor`, "", "systemd-nspawn", "-bM", "web-1")
			h.process(71, 70, "systemd", `0::/machine.slice/machine-web\x2d1.scope/payload/init.scope`, "n")
			h.write("run/systemd/machines/web-1", "NAME=web-1\nSERVICE=systemd-nspawn\nLEADER=71\nCLASS=container\n")
			h.link("run/systemd/machines/unit:machine-web.scope", "web-1")
			h.write("run/systemd/machines/vm", "NAME=vm\nLEADER=1\nCLASS=vm\n")
		}, []Container{{ID: "web-1", Name: "web-1", Engine: nspawn, PID: 71}}},
		"systemd-nspawn without systemd": {func(h *tree) {
			h.process(70, 1, "systemd-nspawn", "0::/", "", "systemd-nspawn", "--register=no", "-D", "/srv/web/")
			h.process(71, 70, "sh", "0::/", "n")
		}, []Container{{ID: "web", Name: "web", Engine: nspawn, PID: 71}}},
		"runc": {func(h *tree) {
			h.process(80, 1, "sh", "0::/c1", "r")
			h.process(81, 80, "sh", "0::/c1", "r")
			h.write("run/runc/c1/state.json", `{"id":"c1","init_process_pid":80,"init_process_start":8000,"config":{"labels":["bundle=/tasks/c1"]}}`)
			h.write("run/runc/old/state.json", `{"id":"old","init_process_pid":80,"init_process_start":5}`)
			h.write("run/runc/gone/state.json", `{"id":"gone","init_process_pid":4711}`)
			h.write("run/runc/broken/state.json", `{`)
			h.write("tasks/c1/config.json", `{}`)
		}, []Container{{ID: "c1", Engine: runc, PID: 80}}},
		"crun": {func(h *tree) {
			h.process(80, 1, "sh", "0::/system.slice/crun-c1.scope", "r")
			h.write("run/crun/c1/status", `{"pid":80,"process-start-time":8000,"bundle":"/b"}`)
		}, []Container{{ID: "c1", Engine: crun, PID: 80}}},
		"podman and its runtime's word": {func(h *tree) {
			h.conmon(20, idA, "web")
			h.write("run/runc/"+idA+"/state.json", `{"init_process_pid":21,"init_process_start":2100}`)
		}, []Container{{ID: idA, Name: "web", Engine: podman, PID: 21}}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newTree(t)
			tt.build(h)
			for i, c := range tt.want {
				tt.want[i].started = uint64(100 * c.PID)
			}
			got, looked := h.host().List()
			for i := range got {
				got[i].Annotations = nil
			}
			if len(got)+len(tt.want) > 0 && !reflect.DeepEqual(got, tt.want) {
				t.Errorf("List:\n%+v, want\n%+v", got, tt.want)
			}
			if looked.Processes == 0 {
				t.Error("it has looked at no process")
			}
			for _, c := range tt.want {
				if later := c; !h.host().Runs(c) {
					t.Errorf("%s does not run", c)
				} else if later.started++; h.host().Runs(later) {
					t.Errorf("%s is taken for a later process", c)
				}
				one, ok := h.host().OfProcess(c.PID)
				one.Annotations = nil
				if c.Engine != runc && c.Engine != crun && (!ok || !reflect.DeepEqual(one, c)) {
					t.Errorf("OfProcess(%d): %+v, %t", c.PID, one, ok)
				}
			}
		})
	}
}

// shim adds a shim of containerd's.
func (h *tree) shim(pid int, namespace, id string) {
	h.process(pid, 1, "containerd-shim", "0::/system.slice/containerd.service", "", "containerd-shim-runc-v2", "-namespace", namespace, "-id", id)
	h.link("proc/"+strconv.Itoa(pid)+"/cwd", "/tasks/"+id)
}

// While a hook runs the runtime is between the monitor and the container.
func TestOfProcess_hook(t *testing.T) {
	h := newTree(t)
	h.process(20, 1, "conmon", "0::/", "", "conmon", "-c", idA, "-n", "web")
	h.process(21, 20, "runc", "0::/", "")
	h.process(22, 21, "runc:[2:INIT]", "0::/libpod_parent/libpod-"+idA, "c")
	if c, ok := h.host().OfProcess(22); !ok || c.Called() != "web" || c.ID != idA {
		t.Errorf("OfProcess: %+v, %t", c, ok)
	}
	for _, pid := range []int{1, 0, 4711} {
		if c, ok := h.host().OfProcess(pid); ok {
			t.Errorf("OfProcess(%d): %+v", pid, c)
		}
	}
}

func TestFind(t *testing.T) {
	pod := annotation.Pod{Namespace: "shop", Name: "web-0", Container: "nginx"}
	other := annotation.Pod{Namespace: "shop", Name: "web-1", Container: "nginx"}
	list := []Container{
		{ID: idA, Name: "web", Engine: podman, PID: 1},
		{ID: idB, Name: "web", Engine: docker, PID: 2},
		{ID: idC, Name: "db", Engine: docker, PID: 3},
		{ID: "box", Name: "box", Engine: lxc, PID: 4},
		{ID: "a1b2x", Engine: runc, PID: 5},
		{ID: strings.Repeat("d", 64), Name: "nginx", Engine: containerd, PID: 6, Pod: pod},
		{ID: "d" + strings.Repeat("dddd", 15) + "ddf", Name: "nginx", Engine: containerd, PID: 7, Pod: other},
		{ID: strings.Repeat("e", 64), PID: 8, Sandbox: true},
		{ID: strings.Repeat("f", 64), Name: idC[:4], Engine: docker, PID: 9},
	}
	for name, want := range map[string]string{
		"db": "3", idC: "3", idA[:4]: "1", idA[:12]: "1", "box": "4", "a1b2x": "5", idB[:63]: "2",
		idC[:4]: "9", // a name comes before the beginning of an ID
		idC[:5]: "3",
		"web":   "2 containers are called \"web\": podman a1b2a1b2a1b2 web (process 1), docker b1c2b1c2b1c2 web (process 2); ",
		"dddd":  "2 containers are called \"dddd\": ", "nginx": "2 containers ", "web-0": "6", "shop/web-1": "7", "web-1/nginx": "7",
		"shop_web-0_nginx": "6", "shop/web-0/nginx": "6", "eeee": "8",
		"bo": "no running container is called \"bo\": ", "a1b": "no running ", "A1B2": "no running ", "": "no running ", "shop": "no running ",
	} {
		c, err := Find(list, name)
		if got := strconv.Itoa(c.PID); err == nil && got != want || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Find(%q) = %+v, %v; want %s", name, c, err, want)
		}
	}
}

func TestFind_errors(t *testing.T) {
	h := newTree(t)
	h.conmon(20, idA, "web")
	h.write("run/runc/x/state.json", "")
	_, err := h.host().Find("wbe")
	var missing *NotFoundError
	if !errors.As(err, &missing) {
		t.Fatalf("Find: %v", err)
	}
	const want = `no running container is called "wbe": looked at the cgroups and parents of 3 processes and /run/runc, and found web; hint: give its process with --pid`
	if err.Error() != want {
		t.Errorf("it says\n%v, want\n%s", err, want)
	}
	if c, err := h.host().Find("web"); err != nil || c.PID != 21 {
		t.Errorf("Find: %+v, %v", c, err)
	}
}

func FuzzParsers(f *testing.F) {
	f.Add("conmon", "1 (a) b) S 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20", "conmon\x00-c\x00a\x00-n\x00b\x00")
	f.Add("lxc-start", "", "[lxc monitor] /x y")
	f.Add("systemd-nspawn", `{"init_process_pid":3}`, "-D\x00/")
	f.Add("containerd-shim", "NAME=x\nLEADER=3\nCLASS=container", "-id")
	f.Fuzz(func(t *testing.T, comm, text, cmdline string) {
		if p, ok := parseStat([]byte(text)); ok && p.parent < 0 {
			t.Skip()
		}
		if m := parseMonitor(comm, []byte(cmdline)); m.bundle != "" && !filepath.IsAbs(m.bundle) {
			t.Errorf("bundle %q", m.bundle)
		}
		if s, ok := parseState([]byte(text)); ok && s.pid <= 0 {
			t.Errorf("state %+v", s)
		}
		if c, ok := parseMachine("x", []byte(text)); ok && c.PID <= 0 {
			t.Errorf("machine %+v", c)
		}
		if engine := engineOf(text, cmdline); engine != "" && engine != nspawn && !strings.Contains(text, cmdline) {
			t.Errorf("engine %s", engine)
		}
	})
}

// The annotations are found in the bundle, wherever an engine or a runtime says that it is.
func TestAnnotations(t *testing.T) {
	h := newTree(t)
	h.process(80, 1, "sh", "0::/system.slice/crun-c1.scope", "r")
	h.write("run/crun/c1/status", `{"pid":80,"process-start-time":8000,"bundle":"/b"}`)
	h.write("b/config.json", `{"annotations":{"devlog.dev/lgo":"on"}}`)
	if got, _ := h.host().List(); len(got) != 1 || got[0].Annotations["devlog.dev/lgo"] != "on" {
		t.Errorf("it has found %+v", got)
	}
}
