package nri

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/nri/pkg/api"

	"devlog/internal/annotation"
	"devlog/internal/hook"
)

// Of what runs already, what asks for devlog is to be repaired.
func TestSynchronize(t *testing.T) {
	on := map[string]string{"devlog.dev/log": "on"}
	pods := []*api.PodSandbox{{Id: "p1", Name: "web-0", Annotations: on}, {Id: "p2"}}
	containers := []*api.Container{
		{Id: "c1", PodSandboxId: "p1", Pid: 7, State: api.ContainerState_CONTAINER_RUNNING},
		{Id: "c2", PodSandboxId: "p1", Pid: 8, State: api.ContainerState_CONTAINER_STOPPED},
		{Id: "c3", PodSandboxId: "p1", Pid: 0, State: api.ContainerState_CONTAINER_RUNNING},
		{Id: "c4", PodSandboxId: "p2", Pid: 9, State: api.ContainerState_CONTAINER_RUNNING},
		{Id: "c5", PodSandboxId: "p1", Pid: 10, State: api.ContainerState_CONTAINER_CREATED},
		{Id: "c6", PodSandboxId: "gone", Pid: 11, State: api.ContainerState_CONTAINER_RUNNING},
	}
	for _, repair := range []bool{true, false} {
		p, _ := programs(t, Options{Repair: repair})
		if updates, err := p.Synchronize(context.Background(), pods, containers); updates != nil || err != nil {
			t.Errorf("%v, %v", updates, err)
		}
		var got []string
		for len(p.repairs) > 0 {
			got = append(got, (<-p.repairs).container.Id)
		}
		if want := []string{"c1", "c5"}; repair && !slices.Equal(got, want) || !repair && got != nil {
			t.Errorf("repair %t: %v, want %v", repair, got, want)
		}
	}
}

// The engine's answer waits for nobody.
func TestSynchronizeMany(t *testing.T) {
	p, log := programs(t, Options{Repair: true, All: true})
	containers := slices.Repeat([]*api.Container{{Pid: 7, State: api.ContainerState_CONTAINER_RUNNING}}, maxRepairs+1)
	if _, err := p.Synchronize(context.Background(), nil, containers); err != nil || strings.Count(log.String(), "left out") != 1 {
		t.Errorf("%v: %s", err, log)
	}
}

// The hook reads what is written for it as it reads what an engine writes.
func TestDescribe(t *testing.T) {
	bundle := t.TempDir()
	r := &running{&api.PodSandbox{Namespace: "shop", Name: "web-0", Annotations: map[string]string{"devlog.dev/rules.web": "*.* container-stdout", "devlog": "on"}},
		&api.Container{Id: "c1", Name: "web", Pid: 7}}
	config, state, err := describe(r, said(r.pod, r.container), bundle)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := hook.ReadOCI(strings.NewReader(string(state)), hook.Poststart)
	if err != nil || c.ID != "c1" || c.PID != 7 || annotation.PodOf(c.Annotations).String() != "shop_web-0_web" ||
		c.Annotations["devlog.dev/rules"] != "*.* container-stdout" || c.Annotations["devlog"] != "on" {
		t.Errorf("the hook reads %+v, %v", c, err)
	}
	if !json.Valid(config) {
		t.Errorf("config.json: %s", config)
	}
}

func TestParentOf(t *testing.T) {
	for _, tt := range []struct {
		stat string
		want int
	}{
		{"42 (sh) S 7 42 42 0", 7},
		{"42 (a) b (c) R 9 1", 9},
		{"42 (sh) S", 0}, {"", 0}, {"42 (sh) S x", 0},
	} {
		if got, err := parentOf(tt.stat); got != tt.want || (err == nil) != (tt.want > 0) {
			t.Errorf("%q: %d, %v", tt.stat, got, err)
		}
	}
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parentOf(string(text)); err != nil || got != os.Getppid() {
		t.Errorf("of this process: %d, %v", got, err)
	}
}

func FuzzParentOf(f *testing.F) {
	f.Add("42 (a) b (c) R 9 1")
	f.Fuzz(func(t *testing.T, stat string) {
		if pid, err := parentOf(stat); err != nil && pid != 0 {
			t.Errorf("%d and %v", pid, err)
		}
	})
}

func TestCgroupDirs(t *testing.T) {
	unified := "/sys/fs/cgroup"
	if _, err := os.Stat("/sys/fs/cgroup/unified"); err == nil {
		unified += "/unified"
	}
	got := cgroupDirs("12:cpu,cpuacct:/a/b\n1:name=systemd:/c\n0::/d\nnonsense\n")
	if want := []string{"/sys/fs/cgroup/cpu,cpuacct/a/b", "/sys/fs/cgroup/systemd/c", unified + "/d"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestIsOf(t *testing.T) {
	if err := isOf(os.Getpid(), "no-such-container"); err == nil || !strings.Contains(err.Error(), "hostPID") {
		t.Errorf("a process of no container: %v", err)
	}
	if err := isOf(1<<30, "c1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no process: %v", err)
	}
}

func TestInstall(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "opt/devlog")
	put := func(text string) {
		for _, name := range []string{hookName, receiverName} {
			if err := os.WriteFile(filepath.Join(from, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	var before uint64
	for _, text := range []string{"old", "new"} {
		put(text)
		if err := Install(from, to); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{hookName, receiverName} {
			got, err := os.ReadFile(filepath.Join(to, name))
			info, serr := os.Stat(filepath.Join(to, name))
			if err != nil || serr != nil || string(got) != text || info.Mode().Perm() != 0o755 {
				t.Fatalf("%s: %q, %v, %v", name, got, err, info)
			}
			if inode := info.Sys().(*syscall.Stat_t).Ino; name == hookName {
				if inode == before {
					t.Error("the file was written to; one that runs cannot be")
				}
				before = inode
			}
		}
	}
	if err := os.Remove(filepath.Join(from, hookName)); err != nil {
		t.Fatal(err)
	}
	if err := Install(from, to); err == nil {
		t.Error("without a program there is no error")
	}
	if err := os.Mkdir(filepath.Join(from, hookName), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Install(from, to); err == nil {
		t.Error("a directory is installed")
	}
	entries, err := os.ReadDir(to)
	if err != nil || len(entries) != 2 {
		t.Errorf("left: %v, %v", entries, err)
	}
}
