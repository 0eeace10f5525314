package runtimes

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"devlog/internal/file/filetest"
	"devlog/test/host"
)

// rootless is a user of the fake host who runs podman.
type rootless struct {
	h                 *host.Host
	rootfs, home, err string
	// volumes are what a container gets.
	volumes []string
}

// rootlessUser is not a user of the machine.
const rootlessUser = 4242

func newRootless(t *testing.T, h *host.Host) *rootless {
	t.Helper()
	id := fmt.Sprint(rootlessUser)
	h.Must("install", "-d", "-o", id, "-g", id, "-m", "700", "/run/own") // podman wants a short path
	h.Must("mount", "-n", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/dev/shm")
	dir := t.TempDir()
	r := &rootless{h: h, rootfs: filepath.Join(dir, "rootfs"), home: filepath.Join(dir, "home"), err: filepath.Join(dir, "home/err"),
		volumes: []string{"/dev:/dev:rslave", host.BinDir + ":" + host.BinDir + ":ro"}}
	host.NewRootfs(t, r.rootfs)
	host.Check(t, os.Mkdir(r.home, 0o700))
	host.Check(t, host.Command("chown", "-hR", fmt.Sprintf("%d:%[1]d", rootlessUser), dir))
	filetest.Reachable(t, dir)
	return r
}

// run runs a script in a container. crun writes a hook's output to r.err, runc to its own standard
// error.
func (r *rootless) run(runtime, hooks, script string) host.Result {
	r.h.T.Helper()
	id := fmt.Sprint(rootlessUser)
	line := []string{"setpriv", "--reuid", id, "--regid", id, "--clear-groups", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
		"USER=devlog", "HOME=" + r.home, "XDG_RUNTIME_DIR=/run/own",
		"podman", "--root", r.home + "/storage", "--runroot", "/run/own/podman", "--storage-driver", "vfs",
		"--runtime", runtime, "--cgroup-manager", "cgroupfs", "--events-backend", "none", "--hooks-dir", hooks,
		"run", "--rm", "--network", "none", "--annotation", "run.oci.hooks.stderr=" + r.err}
	for _, volume := range r.volumes {
		line = append(line, "--volume", volume)
	}
	if runtime == "crun" { // podman refuses this for runc, which works without cgroups by itself
		line = append(line, "--cgroups", "disabled")
	}
	result := r.h.Do(append(line, "--rootfs", r.rootfs, "/bin/sh", "-c", script)...)
	// podman leaves a process that holds the user namespace, and cleans up in the background
	// after a failed start.
	host.Eventually(r.h.T, "podman has ended", func() bool {
		left := r.h.Processes()
		for _, p := range left {
			if pid, ok := strings.CutSuffix(p, " podman"); ok {
				r.h.Do("kill", "-9", pid) // it may have ended by itself
			}
		}
		return len(left) == 0
	})
	return result
}

// Rootless podman, on a host where /dev/log is a link. With a receiver in the container every message
// is in the container's file. For a receiver on the host, the user names a file, or the hook fails.
func TestStageRootless(t *testing.T) {
	for _, s := range []struct {
		runtime, stage, log, says string
		flags                     []string
	}{
		{runtime: "crun", stage: "createContainer", log: "rootfs/var/log/messages"},
		{runtime: "crun", stage: "startContainer", log: "rootfs/var/log/messages"},
		{runtime: "crun", stage: "createRuntime", log: "home/messages", flags: []string{"--rule", "*.* HOME/messages"}},
		{runtime: "crun", stage: "createRuntime", says: "refused: the receiver on the host may not write to /var/log/devlog/", flags: []string{"--on-error", "fail"}},
		{runtime: "runc", stage: "createContainer", log: "rootfs/var/log/messages"},
		{runtime: "runc", stage: "startContainer", log: "rootfs/var/log/messages"},
		{runtime: "runc", stage: "createRuntime", log: "home/messages", flags: []string{"--rule", "*.* HOME/messages"}},
		{runtime: "runc", stage: "createRuntime", says: "refused: the receiver on the host may not write to /var/log/devlog/", flags: []string{"--on-error", "fail"}},
	} {
		t.Run(s.runtime+"/"+s.stage+s.log, func(t *testing.T) {
			host.NeedContainers(t, "podman", s.runtime)
			h := host.NewHost(t)
			host.Journal(t, h)
			r := newRootless(t, h)
			before := h.Tree([]string{"/dev/pts", "/dev/shm"}, "/dev", "/var/log")
			for i := range s.flags {
				s.flags[i] = strings.ReplaceAll(s.flags[i], "HOME", r.home)
			}
			// The end of init kills a receiver inside, even if it has messages to write.
			script := host.ThreeClients("a") + "[ " + s.stage + " = createRuntime ] || until busybox grep -q bb-a /var/log/messages; do sleep 0.01; done; exit 5"
			result := r.run(s.runtime, host.HooksD(t, []string{s.stage}, s.flags...), script)
			said, _ := os.ReadFile(r.err) // crun makes it when a hook runs
			if s.runtime == "runc" {
				said = []byte(result.ErrOut)
			}
			switch {
			case s.says != "":
				if result.Code == 0 || result.Code == 5 || !strings.Contains(string(said), s.says) || !strings.Contains(string(said), "--stage createContainer") {
					t.Errorf("%+v, and the hook says %q", result, said)
				}
			case result.Code != 5:
				t.Fatalf("podman run: %+v, and the hook says %q", result, said)
			default:
				host.WantOnce(t, filepath.Join(filepath.Dir(r.home), s.log), host.ThreeTexts("a")...)
			}
			host.ExpectReceiversEnd(t, h)
			if after := h.Tree([]string{"/dev/pts", "/dev/shm"}, "/dev", "/var/log"); !slices.Equal(before, after) {
				t.Errorf("the host was\n%q\nand is\n%q", before, after)
			}
		})
	}
}

// The host's hooks.d file also applies to an ordinary user's containers with a volume. They log where
// that user may write. Without such a place they start, and the user and the host's daemon get the
// reason why nothing is logged.
func TestRootlessMessages(t *testing.T) {
	for _, runtime := range []string{"crun", "runc"} {
		for _, s := range []struct {
			name          string
			shared, homed bool
		}{{"own dev", false, true}, {"shared dev", true, true}, {"no home", false, false}} {
			t.Run(runtime+"/"+s.name, func(t *testing.T) {
				host.NeedContainers(t, "podman", runtime)
				h := host.NewHost(t)
				host.Install(t, h)
				host.Overlay(h, "/etc")
				r := newRootless(t, h)
				id := fmt.Sprint(rootlessUser)
				h.Must("install", "-d", "-o", id, "-g", id, "-m", "700", "/run/user/"+id)
				host.Check(t, os.Chmod(h.Path("/dev/kmsg"), 0o644))
				if s.homed {
					h.Must("sh", "-c", "echo 'own:x:"+id+":"+id+"::"+r.home+":/bin/sh' >>/etc/passwd")
				}
				if s.shared {
					host.Journal(t, h)
				} else {
					r.volumes = r.volumes[1:]
				}
				var receive func() string
				if !s.homed {
					receive = host.ListenOn(t, h, "/dev/log")
				}
				before := h.Tree([]string{"/dev/pts", "/dev/shm"}, "/dev", "/var/log")
				result := r.run(runtime, host.HooksDir(t, "devlog.oci-all.json"), host.ThreeClients("a")+"exit 5")
				if result.Code != 5 {
					said, _ := os.ReadFile(r.err)
					t.Fatalf("podman run: %+v, and the hook says %q", result, said)
				}
				host.ExpectReceiversEnd(t, h)
				if after := h.Tree([]string{"/dev/pts", "/dev/shm"}, "/dev", "/var/log"); !slices.Equal(before, after) {
					t.Errorf("the host was\n%q\nand is\n%q", before, after)
				}
				state := filepath.Join(r.home, ".local/state/devlog")
				logs, err := filepath.Glob(state + "/*/messages")
				host.Check(t, err)
				if !s.homed {
					notes, err := filepath.Glob(h.Path("/run/user/" + id + "/devlog/*.log"))
					host.Check(t, err)
					const says = "user 4242 has no home directory in /etc/passwd"
					if text := readFiles(t, notes); len(logs) != 0 || len(notes) != 1 || !strings.Contains(text, says) {
						t.Errorf("it is noted %q in %q, and logged in %q", text, notes, logs)
					}
					if got := receive(); !strings.HasPrefix(got, "<11>") || !strings.Contains(got, "devlog-hook: container ") || !strings.Contains(got, says) {
						t.Errorf("the host's daemon has received %q", got)
					}
					return
				}
				if len(logs) != 1 {
					t.Fatalf("logs: %q", logs)
				}
				host.WantOnce(t, logs[0], host.ThreeTexts("a")...)
				for _, dir := range []string{state, filepath.Dir(logs[0])} {
					if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
						t.Errorf("%s: %v, %v", dir, info.Mode(), err)
					}
					host.OwnedBy(t, dir, rootlessUser)
				}
			})
		}
	}
}

// A user's own repair prints correctly where messages go.
func TestRootlessRepair(t *testing.T) {
	host.NeedContainers(t, "setpriv")
	h := host.NewHost(t)
	host.Overlay(h, "/etc")
	r := newRootless(t, h)
	id := fmt.Sprint(rootlessUser)
	h.Must("sh", "-c", "echo 'own:x:"+id+":"+id+"::"+r.home+":/bin/sh' >>/etc/passwd")
	as := func(args ...string) host.Result {
		return h.Do(append([]string{"setpriv", "--reuid", id, "--regid", id, "--clear-groups", "env", "-i", host.HookOn()}, args...)...)
	}
	log := r.home + "/.local/state/devlog/c1/messages"
	if got := as("repair", "--root", r.rootfs, "--name", "c1"); got.Code != 0 || !strings.Contains(got.Out, "\nmessages go to "+log+" on the host\n") {
		t.Errorf("repair: %+v", got)
	}
	if dir := filepath.Dir(log); !host.Exists(dir) { // the first message creates the file
		t.Errorf("%s does not exist", dir)
	}
	if got := as("undo", "--root", r.rootfs); got.Code != 0 {
		t.Errorf("undo: %+v", got)
	}
}

// readFiles returns the contents of the files.
func readFiles(t *testing.T, names []string) (all string) {
	t.Helper()
	for _, name := range names {
		text, err := os.ReadFile(name)
		host.Check(t, err)
		all += string(text)
	}
	return all
}
