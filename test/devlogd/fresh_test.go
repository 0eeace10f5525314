package devlogd

import (
	"os"
	"path/filepath"
	"testing"

	"devlog/internal/handover"
	"devlog/internal/names"

	"golang.org/x/sys/unix"
)

// leftFiles returns a bound socket and other files that an earlier program may leave open.
func leftFiles(t *testing.T) (path string, files []*os.File) {
	t.Helper()
	dir := t.TempDir()
	path, s := passedSocket(t, dir)
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	return path, []*os.File{openDir(t, dir), os.NewFile(uintptr(pair[0]), "pair"), os.NewFile(uintptr(pair[1]), "pair"), s.file, os.NewFile(uintptr(pidfd), "pidfd"), root}
}

// A program that cannot read its predecessor's description continues with its sockets, and with
// the container's process and root, after an upgrade or a kill.
func TestFreshStart(t *testing.T) {
	for name, state := range map[string]string{"garbage": "garbage", "nothing": ""} {
		t.Run(name, func(t *testing.T) {
			path, files := leftFiles(t)
			log := filepath.Join(t.TempDir(), "m")
			metrics := log + ".prom"
			send(t, dial(t, path), "<13>test: before")
			entries := filepath.Join(filepath.Dir(path), names.JournalTemp+"x")
			files = append(files, boundAt(t, entries))
			send(t, dial(t, entries), "MESSAGE=an entry before\nSYSLOG_IDENTIFIER=app\n")
			content, err := handover.StateFile([]byte(state))
			if err != nil {
				t.Fatal(err)
			}
			cmd := command("--name", "box", "--rule", "*.* -"+log, "--metrics-file", metrics, "--later-option", "x")
			cmd.ExtraFiles = append([]*os.File{content}, files...)
			cmd.Env = append(cmd.Env, "DEVLOGD_STATE=3")
			d := startCommand(t, cmd)
			await(t, log, "box test: before\n")
			await(t, log, "started without the state of the previous devlogd: cannot read the receiver's state")
			await(t, log, `ignores arguments that it does not know: "--later-option" "x"`)
			send(t, dial(t, path), "<13>test: after")
			await(t, log, "box test: after\n")
			await(t, log, "box app: an entry before\n")
			send(t, dial(t, entries), "MESSAGE=an entry after\nSYSLOG_IDENTIFIER=app\n")
			await(t, log, "box app: an entry after\n")
			await(t, metrics, "devlogd_fresh_starts_total{name=\"box\"} 1\n")
			d.signal(unix.SIGUSR2)
			awaitTimes(t, log, upgraded, 2) // the fresh start is called an upgrade too
			d.signal(unix.SIGUSR1)
			await(t, log, "starts without the state before 1")
			d.signal(unix.SIGINT)
			if code := d.wait(); code != 0 {
				t.Errorf("exit code %d: %s", code, &d.stderr)
			}
		})
	}
}
