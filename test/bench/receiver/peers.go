package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// peer is a receiver that is measured.
type peer struct {
	name    string
	version string
	// devLog says that it always listens on /dev/log, and follows a link there.
	devLog bool
	env    []string
	// slow says that it gets only a tenth of a flood, which is enough to measure it.
	slow bool
	// args returns its command line for these files, and config its configuration file dir/conf,
	// if it has one. The only rule writes everything to log.
	args   func(dir, socket, log string) []string
	config func(dir, socket, log string) string
}

const ownName = "devlogd"

func (w *place) limit() peer {
	program := filepath.Join(w.tools, limitName)
	return peer{name: limitName, args: func(_, socket, log string) []string { return []string{program, socket, log} }}
}

func (w *place) own() peer {
	return peer{
		name: ownName, version: versionOf(w.devlogd, "--version"),
		args: func(_, socket, log string) []string {
			return []string{w.devlogd, "--listen", socket, "--rule", "*.* -" + log}
		},
	}
}

// others returns the other daemons on this machine: installed, or unpacked by test/deps.sh.
func others() (list []peer) {
	program, err := exec.LookPath("busybox")
	if help, herr := exec.Command(program, "syslogd", "--help").CombinedOutput(); err == nil && herr == nil {
		var rotation []string
		if bytes.Contains(help, []byte("before rotation")) { // Debian 13's would rotate at 200 KB
			rotation = []string{"-s", "0"}
		}
		list = append(list, peer{
			name: "busybox", version: versionOf(program), devLog: true,
			args: func(_, _, log string) []string {
				return append([]string{program, "syslogd", "-n", "-O", log}, rotation...)
			},
		})
	}
	if program, env, modules := find("rsyslogd", "rsyslog/imuxsock.so"); program != "" {
		list = append(list, peer{
			name: "rsyslog", version: versionOf("/usr/bin/env", append(env, program, "-v")...), env: env,
			args: func(dir, _, _ string) []string {
				return append([]string{program, "-n", "-f", dir + "/conf", "-i", dir + "/pid"}, options("-M", modules)...)
			},
			config: func(_, socket, log string) string {
				return fmt.Sprintf("module(load=\"imuxsock\" SysSock.Use=\"off\")\ninput(type=\"imuxsock\" Socket=%q)\n*.* action(type=\"omfile\" file=%q)\n", socket, log)
			},
		})
	}
	if program, env, modules := find("syslog-ng", "[0-9]*/libafsocket.so"); program != "" {
		version := versionOf("/usr/bin/env", append(env, program, "--version")...)
		list = append(list, peer{
			name: "syslog-ng", version: version, env: env, slow: true,
			args: func(dir, _, _ string) []string {
				return append([]string{program, "-F", "--no-caps", "-f", dir + "/conf", "-R", dir + "/persist", "-c", dir + "/ctl", "-p", dir + "/pid"},
					options("--module-path", modules)...)
			},
			config: func(_, socket, log string) string {
				return fmt.Sprintf("@version: %s\noptions { stats-freq(0); };\nsource s { unix-dgram(%q); };\ndestination d { file(%q); };\nlog { source(s); destination(d); flags(flow-control); };\n",
					strings.Join(strings.Split(version+".", ".")[:2], "."), socket, log)
			},
		})
	}
	return list
}

func options(name, value string) []string {
	if value == "" {
		return nil
	}
	return []string{name, value}
}

// find returns a daemon that is installed or unpacked. For an unpacked one it also returns the
// variable that names its libraries, and the directory of such a module.
func find(name, module string) (program string, env []string, modules string) {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin") {
		program = filepath.Join(dir, name)
		if s, err := os.Stat(program); err == nil && s.Mode()&0o111 != 0 {
			return program, nil, ""
		}
	}
	root := filepath.Join(cmp.Or(os.Getenv("XDG_CACHE_HOME"), "/var/cache"), "devlog-test/daemons")
	program = filepath.Join(root, "usr/sbin", name)
	if _, err := os.Stat(program); err != nil {
		return "", nil, ""
	}
	under := func(pattern string) []string {
		found, _ := filepath.Glob(filepath.Join(root, pattern)) // the patterns are valid
		return found
	}
	libs := slices.Concat(under("usr/lib/*-linux-gnu"), under("lib/*-linux-gnu"), under("usr/lib/syslog-ng"))
	for _, file := range under("usr/lib/*/" + module) {
		modules = filepath.Dir(file)
	}
	return program, []string{"LD_LIBRARY_PATH=" + strings.Join(libs, ":")}, modules
}

var number = regexp.MustCompile(`\d+\.\d[^\s(),]*`)

// versionOf returns the version that a program prints; "" for none.
func versionOf(program string, args ...string) string {
	out, _ := exec.Command(program, args...).CombinedOutput() // the exit code does not matter
	line, _, _ := strings.Cut(string(out), "\n")
	if strings.HasPrefix(line, ownName+" ") {
		return strings.TrimPrefix(line, ownName+" ")
	}
	return number.FindString(line)
}
