package devlog

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"devlog/internal/file"
	"devlog/internal/syslogconf"
)

// realUID is the user whom this process runs for: in a user namespace, such as an
// engine's without root, root is somebody else outside of it.
func realUID() int {
	uid := os.Geteuid()
	text, err := file.Read("/proc/self/uid_map", 64<<10)
	if err != nil {
		return uid
	}
	return outsideID(string(text), uid)
}

// outsideID is what an ID of a user namespace is outside, as the text of a
// /proc/PID/uid_map says (user_namespaces(7)); the ID itself where that does not
// say it.
func outsideID(text string, id int) int {
	for line := range strings.Lines(text) {
		var inside, outside, length int64
		if n, err := fmt.Sscan(line, &inside, &outside, &length); err != nil || n != 3 {
			return id
		}
		if at := int64(id) - inside; at >= 0 && at < length {
			return int(outside + at)
		}
	}
	return id
}

// maxPasswd is how much of /etc/passwd is read, in bytes.
const maxPasswd = 4 << 20

// homeOf is the home directory that passwd(5) has for the user; empty for none.
func homeOf(passwd string, uid int) string {
	for line := range strings.Lines(passwd) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) == 7 && fields[2] == fmt.Sprint(uid) && filepath.IsAbs(fields[5]) {
			return path.Clean(fields[5])
		}
	}
	return ""
}

// stateLogs is the directory for containers' logs of a user who may not write to
// syslogconf.LogsDir: $XDG_STATE_HOME/devlog (XDG Base Directory Specification),
// or ~/.local/state/devlog. The error says why no such directory is known.
func stateLogs() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return path.Join(dir, "devlog"), nil
	}
	uid := realUID()
	home := ""
	if text, err := file.Read("/etc/passwd", maxPasswd); err == nil {
		home = homeOf(string(text), uid)
	}
	if home == "" { // of a directory service; a hook's environment is mostly empty
		home = path.Clean(os.Getenv("HOME"))
	}
	info, err := os.Stat(home)
	switch {
	case !filepath.IsAbs(home) || home == "/":
		return "", fmt.Errorf("user %d has no home directory in /etc/passwd", uid)
	case err != nil:
		return "", err
	case int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid():
		return "", fmt.Errorf("%s is not a directory of user %d's", home, uid)
	}
	return path.Join(home, ".local/state/devlog"), nil
}

// hostLogs is the directory in which receivers on the host keep the logs of
// containers, each in a directory of its name, and why it is not
// syslogconf.LogsDir: a user may not write there.
func hostLogs(name string) (dir string, why *Refusal) {
	why = mayWrite(path.Join(syslogconf.LogsDir, name, "messages"))
	if why == nil || realUID() == 0 {
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
