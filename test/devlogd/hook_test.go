package devlogd

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/handover"
	"devlog/internal/names"
	"devlog/internal/pidfd"
	"devlog/internal/rerun/reruntest"
)

// box is a container's files, with the repair's command.
type box struct{ *reruntest.Box }

func newBox(t *testing.T, mode string) box {
	t.Helper()
	return box{reruntest.New(t, mode)}
}

// command returns the repair's command as devlogd's arguments.
func (b box) command() []string { return append([]string{"--"}, b.Command()...) }

// keep starts a receiver with a socket and a watcher.
func (b box) keep(more ...passed) *running {
	b.T.Helper()
	return b.keepWith(nil, more...)
}

// keepWith is keep with more arguments and files.
func (b box) keepWith(args []string, more ...passed) *running {
	b.T.Helper()
	_, socket := passedSocket(b.T, filepath.Dir(b.Sock))
	d := startReady(b.T, append([]passed{
		socket,
		{handover.NameUnlink + "log", openDir(b.T, filepath.Dir(b.Sock))},
		{handover.NameUnlink + ".devlog-repair", openDir(b.T, filepath.Dir(b.Sock))},
		{handover.NameRoot, openDir(b.T, b.Root)},
	}, more...), append(append(args, "--name", "box", "--rule", "*.* -"+b.Log), b.command()...)...)
	_ = socket.file.Close() // or the socket would live on here
	return d
}

// record writes the record of a repair that has started the process.
func (b box) record(pid int) {
	b.T.Helper()
	started, err := pidfd.StartTime(pid)
	b.Must(err)
	text, err := json.MarshalIndent(map[string]any{
		"mount_ns": 1, "receiver": pid, "started": started, "was_owner": map[string]any{"receiver": 1},
	}, "", "\t")
	b.Must(err)
	b.Must(os.WriteFile(filepath.Join(filepath.Dir(b.Sock), names.Record), text, 0o600))
}

// seconds returns the time-out for a socket, whose fields differ between architectures.
func seconds(d time.Duration) *unix.Timeval {
	v := unix.NsecToTimeval(int64(d))
	return &v
}

// read returns the next message at another daemon's socket.
func (b box) read(s int) string {
	b.T.Helper()
	b.Must(unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, seconds(deadline)))
	buf := make([]byte, 1024)
	n, err := unix.Read(s, buf)
	for errors.Is(err, unix.EINTR) { // with a time-out it is not begun again by itself
		n, err = unix.Read(s, buf)
	}
	b.Must(err)
	return string(buf[:n])
}

// leads waits until /dev/log is a link with this text.
func (b box) leads(to string) {
	b.T.Helper()
	b.Eventually("/dev/log leads to "+to, func() bool {
		text, err := os.Readlink(b.Dev)
		return err == nil && text == to
	})
}
