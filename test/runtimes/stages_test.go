package runtimes

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// insideStages are the stages at which the receiver runs in the container.
var insideStages = []string{"createContainer", "startContainer"}

// eachStage runs a test with every runtime and each of the stages.
func eachStage(t *testing.T, stages []string, test func(t *testing.T, h *host.Host, runtime, stage string)) {
	for _, runtime := range []string{"runc", "crun"} {
		for _, stage := range stages {
			t.Run(runtime+"/"+stage, func(t *testing.T) {
				host.NeedContainers(t, runtime)
				test(t, host.NewHost(t), runtime, stage)
			})
		}
	}
}

// With a hook in the container, all messages are in the container's own file. The receiver has only
// the container's namespaces and files, and ends with it.
func TestStageInside(t *testing.T) {
	eachStage(t, insideStages, func(t *testing.T, h *host.Host, runtime, stage string) {
		before := host.Tree(h)
		c := host.NewOCI(t, h, runtime, "c1", host.ThreeClients("a")+host.Hold)
		c.Hook(stage)
		c.Write().Create()
		if n := len(h.Receivers()); stage == "createContainer" && n != 1 {
			t.Fatalf("%d receivers of a created container", n)
		}
		c.Start()
		host.WantOnce(t, c.LogInside(), host.ThreeTexts("a")...)
		pids := h.Receivers()
		if len(pids) != 1 {
			t.Fatalf("receivers: %v", pids)
		}
		expectContained(t, h, pids[0], c)
		if stage == "createContainer" {
			expectConfined(t, h, pids[0])
		}
		if r := c.Exec("/bin/sh", "-c", host.HookIn+" check >/dev/null && "+host.ThreeClients("b")); r.Code != 0 {
			t.Errorf("check and log in the container: %+v", r)
		}
		host.WantOnce(t, c.LogInside(), host.ThreeTexts("b")...)
		host.Release(t, c.Rootfs)
		c.WaitStopped()
		host.ExpectReceiversEnd(t, h)
		h.Must(c.Args("delete")...)
		host.ExpectNew(t, h, before, host.Linked)
	})
}

// expectContained checks that a receiver holds nothing of the host.
func expectContained(t *testing.T, h *host.Host, pid int, c *host.OCI) {
	t.Helper()
	_, init := c.State()
	proc, first := h.Path(fmt.Sprintf("/proc/%d", pid))+"/", h.Path(fmt.Sprintf("/proc/%d", init))+"/"
	for _, ns := range []string{"mnt", "pid", "user"} {
		got, err := os.Readlink(proc + "ns/" + ns)
		host.Check(t, err)
		want, err := os.Readlink(first + "ns/" + ns)
		host.Check(t, err)
		if got != want {
			t.Errorf("the receiver's %s namespace is not the container's", ns)
		}
	}
	if exe, err := os.Readlink(proc + "exe"); err != nil || !strings.HasPrefix(exe, "/memfd:devlogd") {
		t.Errorf("the receiver's program is %q, %v", exe, err)
	}
	if f, err := os.OpenFile(proc+"exe", os.O_WRONLY, 0); err == nil {
		if _, err := f.Write([]byte("x")); err == nil {
			t.Error("the receiver's program can be written")
		}
		host.Check(t, f.Close())
	}
	// The container's root, as a mount there.
	want, mount := fileAt(t, first+"root")
	for _, name := range []string{"root", "cwd"} {
		if got, at := fileAt(t, proc+name); got != want || at != mount {
			t.Errorf("the receiver's %s is not the container's root", name)
		}
	}
	// The container can reach only its own files through this descriptor.
	fds, err := os.ReadDir(proc + "fd")
	host.Check(t, err)
	for _, fd := range fds {
		to, err := os.Readlink(proc + "fd/" + fd.Name())
		if err != nil || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "/memfd:") {
			continue // not a file, or closed by now
		}
		_, at := fileAt(t, proc+"fd/"+fd.Name())
		if !mountedIn(t, init, h, at) {
			t.Errorf("the receiver holds %s: %s, which is not on a mount of the container", fd.Name(), to)
		}
	}
	env, err := os.ReadFile(proc + "environ")
	host.Check(t, err)
	for v := range strings.SplitSeq(strings.TrimRight(string(env), "\x00"), "\x00") {
		if !strings.HasPrefix(v, "LISTEN_") && !strings.HasPrefix(v, "TZ=") && v != "GOMAXPROCS=1" {
			t.Errorf("the receiver's environment has %q", v)
		}
	}
}

// fileAt returns the file's identity and its mount.
func fileAt(t *testing.T, name string) (id [2]uint64, mount uint64) {
	t.Helper()
	var st unix.Statx_t
	host.Check(t, unix.Statx(unix.AT_FDCWD, name, 0, unix.STATX_INO|unix.STATX_MNT_ID, &st))
	return [2]uint64{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino}, st.Mnt_id
}

// mountedIn returns whether a process's mount table has the mount.
func mountedIn(t *testing.T, pid int, h *host.Host, mount uint64) bool {
	t.Helper()
	text, err := os.ReadFile(h.Path(fmt.Sprintf("/proc/%d/mountinfo", pid)))
	host.Check(t, err)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, fmt.Sprint(mount)+" ") {
			return true
		}
	}
	return false
}

// expectConfined checks that a receiver has none of the runtime's privileges.
func expectConfined(t *testing.T, h *host.Host, pid int) {
	t.Helper()
	text, err := os.ReadFile(h.Path(fmt.Sprintf("/proc/%d/status", pid)))
	host.Check(t, err)
	// CAP_DAC_OVERRIDE, CAP_FOWNER and CAP_SYS_CHROOT; CAP_WAKE_ALARM was for the start.
	for _, want := range []string{"CapInh:\t0000000000000000", "CapPrm:\t000000000004000a", "CapEff:\t000000000004000a",
		"CapBnd:\t000000080004000a", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(string(text), want+"\n") {
			t.Errorf("the receiver's status lacks %q:\n%s", want, text)
		}
	}
}

// With a hook at poststart, the messages from then on are in the host's file.
func TestStagePoststart(t *testing.T) {
	eachStage(t, []string{"poststart"}, func(t *testing.T, h *host.Host, runtime, stage string) {
		before := host.Tree(h)
		c := host.NewOCI(t, h, runtime, "c1", "until readlink /dev/log >/dev/null; do sleep 0.01; done;"+host.ThreeClients("a")+host.Hold)
		c.Hook(stage)
		c.Write().Create()
		c.Start()
		host.WantOnce(t, c.Log(), host.ThreeTexts("a")...)
		pids := h.Receivers()
		if len(pids) != 1 {
			t.Fatalf("receivers: %v", pids)
		}
		host.ExpectDaemon(t, h, pids[0], c)
		host.End(t, h, c, c.Rootfs)
		host.ExpectReceiversEnd(t, h)
		host.ExpectNew(t, h, before, host.OCILeaves("c1")...)
		host.ExpectEmpty(t, filepath.Join(c.Rootfs, "run"))
	})
}

// The end of a container removes what its killed receivers left, and nothing that another
// container with the same root directory uses.
func TestStagePoststop(t *testing.T) {
	eachStage(t, []string{"prestart", "createContainer"}, func(t *testing.T, h *host.Host, runtime, stage string) {
		// The end of the receiver, its child, would interrupt a shell.
		c := host.NewOCI(t, h, runtime, "c1", host.ThreeClients("a")+"mkfifo /tmp/hold; exec cat /tmp/hold")
		run := filepath.Join(c.Rootfs, "run")
		host.Check(t, os.WriteFile(filepath.Join(run, "own"), nil, 0o644))
		c.Hook(stage)
		c.AddHook("poststop")
		c.Write().Create()
		c.Start()
		host.Eventually(t, "the clients have logged", func() bool {
			_, err := os.Lstat(filepath.Join(c.Rootfs, "tmp/hold"))
			return err == nil
		})
		killReceivers(t, h)
		host.Release(t, c.Rootfs)
		c.WaitStopped()
		if left := host.Snap(t, c.Rootfs, "/run"); len(left) < 4 {
			t.Fatalf("a killed receiver has left %q", left)
		}
		state := fmt.Sprintf(`{"id":"c1","status":"stopped","pid":0,"bundle":"%s"}`, c.Bundle)
		clear := func() host.Result { return h.DoInput(state, host.HookOn(), "oci", "--stage", "poststop") }

		// A neighbour with the same root directory: what it uses stays.
		d := host.NewOCI(t, h, runtime, "c2", host.Hold)
		host.Check(t, os.RemoveAll(d.Rootfs))
		d.Rootfs = c.Rootfs
		d.Config["root"] = map[string]any{"path": c.Rootfs}
		host.Check(t, os.Remove(filepath.Join(c.Rootfs, "tmp/hold")))
		d.Hook("prestart")
		d.Write().Create()
		d.Start()
		used := host.Snap(t, c.Rootfs, "/run")
		if r := clear(); r.Code != 0 || r.Out+r.ErrOut != "" {
			t.Errorf("poststop beside a neighbour: %+v", r)
		}
		if now := host.Snap(t, c.Rootfs, "/run"); !slices.Equal(now, used) {
			t.Errorf("beside a neighbour poststop has left %q of %q", now, used)
		}
		killReceivers(t, h)
		host.End(t, h, d, d.Rootfs)

		h.Must(c.Args("delete")...)
		entries, err := os.ReadDir(run)
		host.Check(t, err)
		if len(entries) != 1 || entries[0].Name() != "own" {
			t.Errorf("poststop has left %q", host.Snap(t, run, "/"))
		}
		if to, err := os.Readlink(h.Path("/dev/log")); err != nil || to != "/run/devlog/log" {
			t.Errorf("/dev/log: %q, %v", to, err)
		}
		// Once more, and without the container's files: the hook has nothing to do.
		for _, prepare := range []func() error{func() error { return nil }, func() error { return os.RemoveAll(c.Rootfs) }, func() error { return os.RemoveAll(c.Bundle) }} {
			host.Check(t, prepare())
			if r := clear(); r.Code != 0 || r.Out+r.ErrOut != "" {
				t.Errorf("poststop where there is nothing: %+v", r)
			}
		}
	})
}

// killReceivers kills all receivers, and waits until they are gone.
func killReceivers(t *testing.T, h *host.Host) {
	t.Helper()
	for _, pid := range h.Receivers() {
		h.Must("kill", "-9", fmt.Sprint(pid))
		host.Eventually(t, "the receiver is gone", func() bool {
			stat, err := os.ReadFile(h.Path(fmt.Sprintf("/proc/%d/stat", pid)))
			threads, _ := os.ReadDir(h.Path(fmt.Sprintf("/proc/%d/task", pid)))
			// Or a zombie without threads that have files open.
			return err != nil || strings.Contains(string(stat), ") Z ") && len(threads) == 1
		})
	}
}

// An invalid state, at any stage: the hook prints one line and touches nothing.
func TestStageBadState(t *testing.T) {
	host.NeedContainers(t, "runc")
	h := host.NewHost(t)
	c := host.NewOCI(t, h, "runc", "c1", host.Hold)
	c.Write()
	host.Check(t, os.Mkdir(h.Path("/run/devlog"), 0o755)) // for the note
	before, files := host.Tree(h), host.Snap(t, c.Rootfs, "/")
	state := func(pid int) string {
		return fmt.Sprintf(`{"ociVersion":"1.0.2","id":"c1","status":"creating","pid":%d,"bundle":"%s"}`, pid, c.Bundle)
	}
	const dead = 1 << 22 // more than the highest possible PID
	all := []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}
	onHost := []string{"prestart", "createRuntime", "poststart"}
	for _, tt := range []struct {
		name, state string
		stages      []string
		says        string
	}{
		{"empty", "", all, "it is empty"},
		{"truncated", state(1)[:30], all, "not valid JSON"},
		{"garbage", strings.Repeat("\x00\xff", 1000), all, "not valid JSON"},
		{"huge", `{"id":"c1","x":"` + strings.Repeat("x", 1<<21), all, "more than"},
		{"no ID", `{"pid":1,"bundle":"/b"}`, all, "bad id"},
		{"another's path as ID", `{"id":"../c2","pid":1,"bundle":"/b"}`, all, "bad id"},
		{"no pid", state(0), onHost, "pid is 0"},
		{"dead pid", state(dead), onHost, fmt.Sprintf("find process %d", dead)},
		{"the host's pid", state(1), []string{"poststart"}, "root of the container's first process is still the host's"},
		{"not in the container", state(1), []string{"createContainer"}, "use --stage createRuntime"},
	} {
		for _, stage := range tt.stages {
			r := h.DoInput(tt.state, host.HookOn(), "oci", "--stage", stage, "--on-error", "fail")
			if stage == "poststop" {
				if r.Code != 0 {
					t.Errorf("%s at %s: exit code %d", tt.name, stage, r.Code)
				}
			} else if r.Code != 2 && r.Code != 4 && (r.Code != 3 || !strings.Contains(r.ErrOut, "refused: ")) {
				t.Errorf("%s at %s: exit code %d", tt.name, stage, r.Code)
			}
			if r.Out != "" || strings.Count(r.ErrOut, "\n") != 1 || !strings.Contains(r.ErrOut, tt.says) {
				t.Errorf("%s at %s: %q %q, want one line with %q", tt.name, stage, r.Out, r.ErrOut, tt.says)
			}
		}
	}
	if r := h.DoInput(state(dead), host.HookOn(), "oci", "--stage", "createPod"); r.Code != 0 || strings.Count(r.ErrOut, "\n") != 1 {
		t.Errorf("an unknown stage: %+v", r)
	}
	host.ExpectNew(t, h, before, "/run/devlog/c1.log")
	if after := host.Snap(t, c.Rootfs, "/"); !slices.Equal(files, after) {
		t.Errorf("the root was\n%q\nand is\n%q", files, after)
	}
	if pids := h.Receivers(); len(pids) != 0 {
		t.Errorf("receivers: %v", pids)
	}
}

// At startContainer the hook runs as the container's user, with its seccomp filter: it does what that
// user may do, and reports what is refused.
func TestStageStartContainerUser(t *testing.T) {
	for _, s := range []struct {
		name, to string // to is where /dev/log points, or empty
		says     string // a refusal, or empty
	}{
		{"adopt", "/tmp/own/log", ""},
		{"absent", "", "refused: /dev cannot be written"},
	} {
		eachStage(t, []string{"startContainer"}, func(t *testing.T, h *host.Host, runtime, stage string) {
			if s.to != "" {
				host.Check(t, os.Symlink(s.to, h.Path("/dev/log")))
			}
			c := host.NewOCI(t, h, runtime, s.name, host.ThreeClients("a")+"[ ! -e /tmp/own/log ] || until busybox grep -q bb-a /tmp/messages; do sleep 0.01; done; exit 5")
			process := c.Config["process"].(map[string]any)
			process["user"], process["noNewPrivileges"], process["capabilities"] = map[string]any{"uid": 1000, "gid": 1000}, true, map[string]any{}
			c.Config["linux"].(map[string]any)["seccomp"] = map[string]any{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []any{
				map[string]any{"names": []string{"mount", "umount2", "unshare", "setns", "chroot", "ptrace", "bpf"}, "action": "SCMP_ACT_ERRNO"}}}
			host.Check(t, os.Chmod(filepath.Join(c.Rootfs, "tmp"), 0o1777))
			before := host.Tree(h)
			c.Hook(stage, "--rule", "*.* /tmp/messages", "--on-error", "fail", "--adopt", "/tmp/own/log")
			r := h.Do(c.Write().Args("run")...)
			if s.says == "" {
				if r.Code != 5 {
					t.Fatalf("run: %+v", r)
				}
				host.WantOnce(t, filepath.Join(c.Rootfs, "tmp/messages"), host.ThreeTexts("a")...)
			} else if r.Code == 5 || r.Code == 0 || runtime == "runc" && !strings.Contains(r.ErrOut, s.says) { // crun hides a hook's output
				t.Errorf("run: %+v, want %q", r, s.says)
			}
			host.ExpectReceiversEnd(t, h)
			host.ExpectNew(t, h, before)
		})
	}
}

// If programs cannot run from memory, no receiver starts in the container, and nothing of the attempt
// is left.
func TestStageInsideWithoutMemory(t *testing.T) {
	eachStage(t, []string{"createContainer"}, func(t *testing.T, h *host.Host, runtime, stage string) {
		host.Need(t, "memfd_noexec")
		c := host.NewOCI(t, h, runtime, "c1", "exit 5")
		c.Hook(stage, "--on-error", "fail")
		before, files := host.Tree(h), host.Snap(t, c.Rootfs, "/")
		c.Write()
		// Of this PID namespace and those below.
		h.Must("sh", "-c", "echo 2 >/proc/sys/vm/memfd_noexec")
		r := h.Do(c.Args("run")...)
		if strings.Contains(r.ErrOut, "could not ensure we are a cloned binary") {
			t.Skip("this runc does not start without it either, as 1.1.15")
		}
		if r.Code == 5 || r.Code == 0 {
			t.Errorf("run: %+v", r)
		}
		said, err := os.ReadFile(h.Path("/run/devlog/c1.log"))
		if err != nil || !strings.Contains(string(said), "start the receiver from memory") {
			t.Errorf("it says %q, %v", said, err)
		}
		host.ExpectNew(t, h, before, "/run/devlog", "/run/devlog/c1.log")
		if after := host.Snap(t, c.Rootfs, "/"); !slices.Equal(files, after) {
			t.Errorf("the root was\n%q\nand is\n%q", files, after)
		}
	})
}
