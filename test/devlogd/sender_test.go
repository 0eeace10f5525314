package devlogd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSender(t *testing.T) {
	dir := t.TempDir()
	sock, stream := filepath.Join(dir, "s"), filepath.Join(dir, "t")
	json, plain, marked := filepath.Join(dir, "json"), filepath.Join(dir, "plain"), filepath.Join(dir, "marked")
	startReady(t, nil, "--listen", sock, "--type", "dgram", "--listen", stream, "--type", "stream", "--name", "box",
		"--rule", "*.* -"+json+";JSON", "--rule", "*.* -"+plain, "--rule", "*.* -"+marked+";sender")
	self := os.Getpid()
	fd := dial(t, sock)
	send(t, fd, fmt.Sprintf("<13>a[%d]: right", self), "<13>a[1]: wrong", "<13>a: none")
	await(t, marked, "none") // the socket's queue is in order
	write(t, dialStream(t, stream), "<13>a[1]: stream\n")
	await(t, marked, "stream")
	if got, want := content(t, plain), fmt.Sprintf("box a[%d]: right\nbox a[1]: wrong\nbox a: none\nbox a[1]: stream\n", self); got != want {
		t.Errorf("plain: %q, want %q", got, want)
	}
	mark := fmt.Sprintf(" [sent by pid=%d uid=%d gid=%d]", self, os.Getuid(), os.Getgid())
	if got, want := content(t, marked), fmt.Sprintf("box a[%d]: right\nbox a[1]: wrong%s\nbox a: none\nbox a[1]: stream%s\n", self, mark, mark); got != want {
		t.Errorf("marked: %q, want %q", got, want)
	}
	sent := fmt.Sprintf(`"sender":{"pid":%d,"uid":%d,"gid":%d}}`, self, os.Getuid(), os.Getgid())
	if got := content(t, json); strings.Count(got, sent) != 4 || strings.Count(got, "\n") != 4 {
		t.Errorf("JSON: %s", got)
	}
}

// A sender without privileges cannot pretend to be another process: the kernel refuses the
// message.
func TestForgedSender(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	startReady(t, nil, "--listen", sock, "--rule", "*.* -"+log+";JSON")
	fd := dial(t, sock)
	const nobody = 65534
	uid := os.Getuid()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // it ends with the goroutine, for its user is another
		if uid == 0 {
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
				done <- errno
				return
			}
		}
		for _, forged := range []*unix.Ucred{{Pid: 1, Uid: 0, Gid: 0}, {Pid: int32(os.Getpid()), Uid: 0, Gid: 0}, {Pid: 1, Uid: uint32(nobody), Gid: uint32(os.Getgid())}} {
			if err := unix.Sendmsg(fd, []byte("<13>a: forged"), unix.UnixCredentials(forged), nil, 0); !errors.Is(err, unix.EPERM) {
				done <- fmt.Errorf("%+v: %w, want %w", forged, err, unix.EPERM)
				return
			}
		}
		done <- unix.Sendto(fd, []byte("<13>a[1]: true"), 0, nil)
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	await(t, log, "true")
	if uid == 0 {
		uid = nobody
	}
	if got, want := content(t, log), fmt.Sprintf(`"sender":{"pid":%d,"uid":%d,`, os.Getpid(), uid); strings.Count(got, "\n") != 1 || !strings.Contains(got, want) {
		t.Errorf("%s, want %s", got, want)
	}
}
