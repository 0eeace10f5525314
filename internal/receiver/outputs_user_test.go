package receiver

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file/filetest"
	"devlog/internal/handover"
	"devlog/internal/sandbox"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// A restarted receiver with --user is root at first. It must not make files as root that it
// cannot open later.
func TestUserAgain(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	dir := t.TempDir()
	filetest.Reachable(t, dir)
	for _, user := range []*sandbox.User{nil, {UID: 12345, GID: 54321}} {
		log := filepath.Join(dir, fmt.Sprint("new", user != nil), "m")
		r := newReceiver(t, Config{Name: "box", Rules: func() ([]syslogconf.Rule, error) { return rules(t, "*.* -"+log), nil }})
		r.Resume(handover.NewDescription(), false)
		want := uint32(os.Geteuid())
		if user != nil {
			want = uint32(user.UID)
		}
		if err := r.OpenOutputs(user); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(log); (err == nil) != (user != nil) {
			t.Errorf("user %v, before the first message: %v", user, err)
		}
		r.Say(syslog.Notice, "the first message")
		r.Flush(time.Now())
		r.Close()
		var st unix.Stat_t
		if err := unix.Stat(log, &st); err != nil || st.Uid != want {
			t.Errorf("%s is of %d, want %d, %v", log, st.Uid, want, err)
		}
	}
}
