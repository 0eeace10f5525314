package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// buildFor builds the programs for another architecture.
func buildFor(t *testing.T, arch string) string {
	t.Helper()
	dir := t.TempDir()
	host.Check(t, os.Chmod(dir, 0o755))
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "urfave_cli_no_docs", "-o", dir, "devlog/cmd/devlogd", "devlog/cmd/devlog-hook")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOARM=6")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return dir
}

// The programs run on other machines: with 32 bits, another byte order, other system calls. The
// emulator also lacks some system calls (sock_diag(7), landlock(7)).
func TestOtherArchitectures(t *testing.T) {
	for _, arch := range []string{"arm", "riscv64", "mips"} {
		t.Run(arch, func(t *testing.T) {
			host.Need(t, "qemu")
			bin := buildFor(t, arch)
			t.Run("receive", func(t *testing.T) { expectReceives(t, host.Qemu(arch), bin) })
			t.Run("repair", func(t *testing.T) { expectRepairs(t, host.Qemu(arch), bin) })
		})
	}
}

// Outside its user namespace, the container's root may have any ID from 1 to 1<<32-2, also
// where an int has 32 bits.
func TestHighIDs(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("this test runs programs for 386")
	}
	const first = 3_000_000_000
	bin := buildFor(t, "386")
	for name, make := range map[string]func(*testing.T, *host.Host){"adopt": host.Journal, "bind": host.LiveSocket} {
		t.Run(name, func(t *testing.T) {
			host.NeedContainers(t, "runc")
			h := host.NewHost(t)
			make(t, h)
			c := host.NewOCI(t, h, "runc", "c1", host.Hold)
			c.MappedTo(first)
			c.Write().Create()
			c.Start()
			_, pid := c.State()
			h.Must(filepath.Join(bin, "devlog-hook"), "repair", "--pid", fmt.Sprint(pid), "--name", "c1")
			if r := c.Exec("/bin/sh", "-c", host.ThreeClients("c1")); r.Code != 0 {
				t.Errorf("clients: %+v", r)
			}
			host.WantOnce(t, h.Path("/var/log/devlog/c1/messages"), host.ThreeTexts("c1")...)
			dir := map[string]string{"adopt": "/run/systemd/journal", "bind": "/run/devlog"}[name]
			host.OwnedBy(t, h.Path(fmt.Sprintf("/proc/%d/root%s", pid, dir)), first)
			host.End(t, h, c, c.Rootfs)
			host.ExpectReceiversEnd(t, h)
		})
	}
}

// expectReceives checks that devlogd receives from both kinds of socket, escapes control characters,
// rotates and compresses.
func expectReceives(t *testing.T, emulator, bin string) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	r := host.RunCommand(t, at("log"), exec.Command(emulator, filepath.Join(bin, "devlogd"), "--type", "dgram", "--listen", at("log"),
		"--type", "stream", "--listen", at("stream"),
		"--rule", "*.* "+at("m")+";rotate=1k:2,gzip", "--rule", "*.* "+at("json")+";JSON,sender", "--rule", "*.* "+at("all")))
	fd := r.Connect()
	host.Check(t, host.Send(fd, "<13>Jan  1 00:00:00 t: red \x1b[31m\nforged"))
	host.WantOnce(t, at("all"), "red #033[31m#012forged")
	sender := fmt.Sprintf(`"sender":{"pid":%d,"uid":%d,"gid":%d}`, os.Getpid(), os.Geteuid(), os.Getegid())
	host.Eventually(t, "the sender is known", func() bool {
		text, _ := os.ReadFile(at("json")) // a missing file counts as empty
		return strings.Contains(string(text), sender)
	})
	var texts []string
	for i := range 40 {
		text := fmt.Sprintf("number %d.%s", i, strings.Repeat("x", 60))
		host.Check(t, host.Send(fd, "<13>Jan  1 00:00:00 t: "+text))
		texts = append(texts, text)
	}
	s := host.ConnectStream(t, at("stream"))
	host.Check(t, host.Send(s, "<13>Jan  1 00:00:00 t: by stream\n"))
	host.WantOnce(t, at("all"), append(texts, "by stream")...)
	host.Eventually(t, "there is an old file that is compressed", func() bool { return host.Exists(at("m.1.gz")) })
	r.Signal(unix.SIGTERM)
	if code, errOut := r.Wait(); code != 0 || errOut != "" {
		t.Errorf("devlogd: exit code %d, %q", code, errOut)
	}
}

// expectRepairs checks that devlog-hook checks and repairs a container.
func expectRepairs(t *testing.T, emulator, bin string) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	c := host.StartPlain(t, h, "lxc")
	receiver := filepath.Join(bin, "receiver") // the kernel cannot run that architecture's devlogd
	host.Check(t, os.WriteFile(receiver, []byte("#!/bin/sh\nexec "+emulator+" "+filepath.Join(bin, "devlogd")+" \"$@\"\n"), 0o755))
	hook := func(args ...string) host.Result {
		return h.Do(append([]string{emulator, filepath.Join(bin, "devlog-hook")}, args...)...)
	}
	pid := fmt.Sprint(c.Pid)
	if r := hook("check", "--pid", pid); r.Code != 1 || !strings.Contains(r.Out, "repair    symlink") {
		t.Errorf("check: %+v", r)
	}
	if r := hook("repair", "--pid", pid, "--name", "c", "--receiver", receiver); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	if r := c.Exec("/bin/sh", "-c", host.ThreeClients("c")); r.Code != 0 {
		t.Errorf("clients: %+v", r)
	}
	host.WantOnce(t, h.Path("/var/log/devlog/c/messages"), host.ThreeTexts("c")...)
	c.Stop()
	host.Eventually(t, "the receiver ends with its container", func() bool { return !strings.Contains(h.Must("ps", "ax").Out, bin) })
}
