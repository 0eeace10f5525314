// Package wrapper owns the command line of devlog-runtime: an OCI runtime that adds our hooks
// to the configuration of a container that is created, and then becomes the real runtime.
//
// Problems with the hooks do not keep a container from starting: devlog-runtime reports them,
// and the real runtime gets the bundle unchanged. It fails only if there is no real runtime.
package wrapper

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/syslog"
)

const (
	// runtimeEnv names the real runtime: a path, or a name to find in PATH.
	runtimeEnv     = "DEVLOG_RUNTIME"
	defaultRuntime = "runc"
	// hookName is the file name of our hook, in this program's directory.
	hookName = "devlog-hook"
	hookPath = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
	// hookTimeout is the longest time that the hook may take, in seconds.
	hookTimeout = 30
	kernelLog   = "/dev/kmsg"
)

// stages are the stages at which our hook is added. Every runtime knows prestart; runc before
// 1.0.0-rc91 silently skips createRuntime.
var stages = []string{"prestart"}

// The exit codes, those of env(1).
const (
	exitCannotRun = 126
	exitNotFound  = 127
)

// Main adds our hooks if args (the program's name first) create a container, and becomes the
// real runtime with the same arguments and environment. It returns an exit code only if that
// fails.
func Main(args, environ []string, stderr io.Writer) int {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		say(stderr, fmt.Errorf("cannot find this program: %w", err))
		return exitCannotRun
	}
	runtime, err := findRuntime(lookup(environ, runtimeEnv), lookup(environ, "PATH"), self)
	if err != nil {
		say(stderr, err)
		return exitNotFound
	}
	if bundle, ok := created(args[1:]); ok {
		if err := prepare(bundle, environ); err != nil {
			say(stderr, fmt.Errorf("this container starts without devlog: %w", err))
		}
	}
	// crun behaves according to the name by which it is called.
	err = unix.Exec(runtime, append([]string{runtime}, args[1:]...), environ)
	say(stderr, fmt.Errorf("cannot execute the runtime %s: %w", runtime, err))
	return exitCannotRun
}

// prepare adds our hooks to the bundle.
func prepare(bundle string, environ []string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	hook := filepath.Join(filepath.Dir(self), hookName)
	if err := unix.Access(hook, unix.X_OK); err != nil {
		return fmt.Errorf("cannot find the hook %s: %w; hint: install devlog-hook there", hook, err)
	}
	return addTo(filepath.Join(bundle, "config.json"), func(stage string) specs.Hook {
		timeout := hookTimeout
		return specs.Hook{
			Path: hook, Args: []string{hookName, "oci", "--stage", stage},
			Env: hookEnv(environ), Timeout: &timeout,
		}
	})
}

// hookEnv returns the hook's environment: the variables for it from the engine's environment,
// which the administrator sets, and none of the container's.
func hookEnv(environ []string) []string {
	env := []string{hookPath}
	for _, v := range environ {
		if strings.HasPrefix(v, "DEVLOG_") && !strings.HasPrefix(v, runtimeEnv+"=") {
			env = append(env, v)
		}
	}
	return env
}

// lookup returns the variable's value, or "".
func lookup(environ []string, name string) string {
	for _, v := range environ {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// standardPath are the usual directories of runtimes: an engine's PATH may lack some.
const standardPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// findRuntime returns the path of the real runtime. It never returns this program itself,
// under whatever name it is installed.
func findRuntime(name, path string, self os.FileInfo) (string, error) {
	if name == "" {
		name = defaultRuntime
	}
	if strings.Contains(name, "/") {
		info, err := os.Stat(name)
		if err != nil {
			return "", fmt.Errorf("cannot find the runtime: %w; hint: set %s to the real one", err, runtimeEnv)
		}
		if os.SameFile(info, self) {
			return "", fmt.Errorf("%s=%s is this program itself; hint: set it to the real runtime", runtimeEnv, name)
		}
		return name, nil
	}
	for _, dir := range strings.Split(path+":"+standardPath, ":") {
		if !filepath.IsAbs(dir) {
			continue // never use a file in the current directory, which is a bundle
		}
		file := filepath.Join(dir, name)
		info, err := os.Stat(file)
		if err == nil && info.Mode().IsRegular() && unix.Access(file, unix.X_OK) == nil && !os.SameFile(info, self) {
			return file, nil
		}
	}
	return "", fmt.Errorf("cannot find the runtime %s: it is not in PATH; hint: install it, or set %s", name, runtimeEnv)
}

// say writes the error as one line to standard error and to the kernel's log: engines do not
// show the standard error of a successful runtime.
func say(stderr io.Writer, err error) {
	text := "devlog-runtime: " + syslog.Escape(strings.ReplaceAll(err.Error(), "\n", "; "))
	fmt.Fprintln(stderr, text)
	_ = file.WriteKernelLog(kernelLog, syslog.KernelRecord(syslog.MakePriority(syslog.User, syslog.Err), text))
}
