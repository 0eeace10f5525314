package launch

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"devlog/internal/plan"
	"devlog/internal/sandbox"
	"devlog/internal/syslogconf"
	"devlog/internal/target"
)

// stateLogs returns the directory for containers' logs of a user who may not write to
// syslogconf.LogsDir: $XDG_STATE_HOME/devlog (XDG Base Directory Specification), or
// ~/.local/state/devlog.
func stateLogs() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return path.Join(dir, "devlog"), nil
	}
	uid := target.RealUID()
	home := sandbox.Home(uid)
	if home == "" { // from a directory service; a hook's environment is mostly empty
		home = path.Clean(os.Getenv("HOME"))
	}
	info, err := os.Stat(home)
	switch {
	case !filepath.IsAbs(home) || home == "/":
		return "", fmt.Errorf("user %d has no home directory in /etc/passwd", uid)
	case err != nil:
		return "", err
	case int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid():
		return "", fmt.Errorf("%s does not belong to user %d", home, uid)
	}
	return path.Join(home, ".local/state/devlog"), nil
}

// hostLogs returns the directory on the host for containers' logs, each of which has a
// directory with the container's name. why is why syslogconf.LogsDir cannot be used; nil if
// it can, or if a user's own directory can.
func hostLogs(name string) (dir string, why *plan.Refusal) {
	why = mayWrite(path.Join(syslogconf.LogsDir, name, "messages"))
	if why == nil || target.RealUID() == 0 {
		return syslogconf.LogsDir, why
	}
	own, err := stateLogs()
	if err == nil {
		if mayWrite(path.Join(own, name, "messages")) == nil {
			return own, nil
		}
		err = fmt.Errorf("nor to %s", own)
	}
	why.Reason += "; " + err.Error()
	return syslogconf.LogsDir, why
}
