package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Qemu is the program that runs programs of another architecture.
func Qemu(arch string) string {
	static := Unpacked("qemu/usr/bin/qemu-" + arch + "-static")
	if !Exists(static) { // Debian 13's are static without saying so
		return strings.TrimSuffix(static, "-static")
	}
	return static
}

// Block is a part of a document that readers type or save as a file. The comment
// before it, which readers do not see, tells a test what to do with it:
//
//	run WHERE        run the command after each "$" and compare the output;
//	                 without any "$", run it as a script that must succeed
//	run: TestNAME    that test does the same
//	rules            rules that devlogd accepts
//	golden NAME      the output of check in that file of testdata/golden
//	illustration     not run
type Block struct {
	At, Marker, Text string
}

var comment = regexp.MustCompile(`^<!-- (.*) -->$`)

// Blocks returns the fenced and indented blocks of a document.
func Blocks(t *testing.T, file string) (list []Block) {
	t.Helper()
	text, err := os.ReadFile(file)
	Check(t, err)
	last, blank, fenced, open := "", true, false, false
	for i, line := range strings.Split(string(text), "\n") {
		fence := strings.HasPrefix(line, "```")
		indented := !fenced && strings.HasPrefix(line, "    ")
		switch {
		case fence && fenced:
			fenced = false
		case fence, indented && !open && blank:
			b := Block{At: fmt.Sprintf("%s:%d", file, i+1)}
			if m := comment.FindStringSubmatch(last); m != nil {
				b.Marker = m[1]
			}
			list = append(list, b)
			fenced, open = fence, indented
		case open && line != "":
			open = indented
		}
		if b := len(list) - 1; !fence && (fenced || open) {
			list[b].Text += strings.TrimPrefix(line, map[bool]string{true: "    "}[open]) + "\n"
		}
		if blank = strings.TrimSpace(line) == ""; !blank {
			last = line
		}
	}
	if fenced {
		t.Errorf("%s: a fence without an end", file)
	}
	return list
}

// holderEnv makes the test binary the first process of a fake host.
const holderEnv = "DEVLOG_TEST_HOLDER"

// Host is a fake host: mount and PID namespaces with a /dev, /run and /var/log
// of their own, which all end with the test.
type Host struct {
	T   *testing.T
	Pid int
}

// Result is the result of a command.
type Result struct {
	Code        int
	Out, ErrOut string
}

// NewHost makes a fake host. The test fails if a process still runs there at its
// end.
func NewHost(t *testing.T) *Host {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), holderEnv+"=1")
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	in, err := cmd.StdinPipe()
	Check(t, err)
	out, err := cmd.StdoutPipe()
	Check(t, err)
	Check(t, cmd.Start())
	h := &Host{T: t, Pid: cmd.Process.Pid}
	null := machineNull()
	t.Cleanup(func() {
		if now := machineNull(); now != null {
			t.Errorf("the machine's /dev/null: owner and mode are %s, and were %s", now, null)
		}
		if !t.Failed() {
			h.ExpectNoProcesses()
		}
		if err := in.Close(); err != nil { // the end of its standard input ends the host
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("end of the host: %v", err)
		}
	})
	if line, err := io.ReadAll(out); err != nil || string(line) != "ready\n" {
		t.Fatalf("start of the host: %q, %v", line, err)
	}
	return h
}

// machineNull is the owner and mode of the machine's /dev/null, which tests must leave alone.
func machineNull() string {
	var st unix.Stat_t
	if err := unix.Stat("/dev/null", &st); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %o", st.Uid, st.Mode)
}

// holdHost is the first process of a fake host. It reports on standard output,
// and ends when its standard input does; the kernel then kills all others.
func holdHost() error {
	signal.Ignore(syscall.SIGCHLD) // the kernel reaps
	private := func(target string) error {
		return unix.Mount("", target, "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	tmpfs := func(target string) error {
		return unix.Mount("tmpfs", target, "tmpfs", 0, "mode=755")
	}
	steps := []error{private("/"), unix.Mount("proc", "/proc", "proc", 0, ""), tmpfs("/dev"), tmpfs("/run"), tmpfs("/var/log")}
	for _, n := range []struct {
		name         string
		major, minor uint32
	}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"kmsg", 1, 11}, {"tty", 5, 0}, {"console", 5, 1}} {
		name := "/dev/" + n.name
		steps = append(steps, unix.Mknod(name, unix.S_IFCHR|0o666, int(unix.Mkdev(n.major, n.minor))), os.Chmod(name, 0o666))
	}
	steps = append(steps, os.Mkdir("/dev/pts", 0o755), os.Mkdir("/dev/shm", 0o1777),
		unix.Mount("devpts", "/dev/pts", "devpts", 0, "newinstance,ptmxmode=666,mode=620"))
	for name, to := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		steps = append(steps, os.Symlink(to, "/dev/"+name))
	}
	// crun mistakes this hierarchy, beside cgroup v1, for the only one, and fails.
	if err := unix.Unmount("/sys/fs/cgroup/unified", unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		steps = append(steps, err)
	}
	if err := errors.Join(steps...); err != nil {
		return fmt.Errorf("make a fake host: %w", err)
	}
	if _, err := fmt.Println("ready"); err != nil {
		return err
	}
	if err := os.Stdout.Close(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// Path returns the host's file name as the test sees it.
func (h *Host) Path(name string) string {
	return filepath.Join("/proc", strconv.Itoa(h.Pid), "root", name)
}

// Command returns a command that runs on the host, in its "/".
func (h *Host) Command(ctx context.Context, args ...string) *exec.Cmd {
	ns := fmt.Sprintf("/proc/%d/ns/", h.Pid)
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--mount=" + ns + "mnt", "--pid=" + ns + "pid", "--"}, args...)...)
	cmd.WaitDelay = Deadline // a process that keeps the output open is a defect; do not wait forever for it
	return cmd
}

// Do runs a command on the host, and waits until it has ended and no process has
// its output open: what hangs a runtime fails here.
func (h *Host) Do(args ...string) Result {
	h.T.Helper()
	return h.DoInput("", args...)
}

// DoInput is Do with a standard input.
func (h *Host) DoInput(input string, args ...string) Result {
	h.T.Helper()
	ctx, cancel := context.WithTimeout(h.T.Context(), 2*Deadline)
	defer cancel()
	cmd := h.Command(ctx, args...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		h.T.Fatalf("%q: %v (%v)\nstdout: %s\nstderr: %s\nprocesses: %q", args, err, ctx.Err(), &out, &errOut, h.Processes())
	}
	return Result{Code: cmd.ProcessState.ExitCode(), Out: out.String(), ErrOut: errOut.String()}
}

// Detached runs a command on the host to its end. Processes that it started may keep
// its output open, as the process of a created container does.
func (h *Host) Detached(args ...string) Result {
	h.T.Helper()
	ctx, cancel := context.WithTimeout(h.T.Context(), 2*Deadline)
	defer cancel()
	cmd := h.Command(ctx, args...)
	out, err := os.CreateTemp(h.T.TempDir(), "out")
	Check(h.T, err)
	null, err := os.Open(h.Path("/dev/null")) // not the machine's: runtimes give it to the user of a container with a user namespace
	Check(h.T, err)
	defer null.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = null, out, out
	err = cmd.Run()
	text, rerr := os.ReadFile(out.Name())
	Check(h.T, errors.Join(rerr, out.Close()))
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		h.T.Fatalf("%q: %v (%v)\noutput: %s\nprocesses: %q", args, err, ctx.Err(), text, h.Processes())
	}
	return Result{Code: cmd.ProcessState.ExitCode(), ErrOut: string(text)}
}

// Must is Do for a command that must succeed.
func (h *Host) Must(args ...string) Result {
	h.T.Helper()
	r := h.Do(args...)
	if r.Code != 0 {
		h.T.Fatalf("%q: exit code %d\nstdout: %s\nstderr: %s", args, r.Code, r.Out, r.ErrOut)
	}
	return r
}

// Processes lists the processes of the host and its containers, except its first
// one: "PID command line". PIDs are the host's.
func (h *Host) Processes() []string {
	h.T.Helper()
	dirs, err := filepath.Glob(h.Path("/proc/[0-9]*"))
	Check(h.T, err)
	var list []string
	for _, dir := range dirs {
		pid := filepath.Base(dir)
		line, err := os.ReadFile(dir + "/cmdline")
		if err != nil || pid == "1" || len(line) == 0 { // it has ended, or is a zombie
			continue
		}
		if strings.Contains(string(line), listenerArg) { // the test's own
			continue
		}
		list = append(list, pid+" "+strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " ")))
	}
	return list
}

// Receivers lists the PIDs of the receivers, found by their command lines: in a
// container their program is a copy without a name.
func (h *Host) Receivers() []int {
	h.T.Helper()
	var pids []int
	for _, p := range h.Processes() {
		f := strings.Fields(p)
		if pid, err := strconv.Atoi(f[0]); err == nil && filepath.Base(f[1]) == "devlogd" {
			pids = append(pids, pid)
		}
	}
	all := slices.Clone(pids)
	return slices.DeleteFunc(pids, func(pid int) bool {
		// Skip a receiver's child that is about to execute a repair.
		f := h.Stat(pid)
		return f == nil || slices.ContainsFunc(all, func(of int) bool { return f[1] == strconv.Itoa(of) })
	})
}

// Stat returns the fields of the host's /proc/PID/stat after the command: the state,
// the parent's process ID, ...; nil if the process has ended.
func (h *Host) Stat(pid int) []string {
	h.T.Helper()
	text, err := os.ReadFile(h.Path(fmt.Sprintf("/proc/%d/stat", pid)))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
}

// ExpectNoProcesses waits until no process is left on the host.
func (h *Host) ExpectNoProcesses() {
	h.T.Helper()
	if !WaitFor(func() bool { return len(h.Processes()) == 0 }) {
		h.T.Errorf("left running: %q", h.Processes())
	}
}

// Tree lists what is below directories of the host, with types and links' targets.
// It leaves out what is below the directories in skip.
func (h *Host) Tree(skip []string, dirs ...string) []string {
	h.T.Helper()
	var list []string
	for _, dir := range dirs {
		root := h.Path(dir)
		Check(h.T, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name := filepath.Join(dir, strings.TrimPrefix(path, root))
			if slices.Contains(skip, name) {
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
			info, err := os.Lstat(path)
			if err != nil {
				return err
			}
			line := fmt.Sprintf("%s %s", info.Mode(), name)
			if d.Type()&fs.ModeSymlink != 0 {
				to, err := os.Readlink(path)
				if err != nil {
					return err
				}
				line += " -> " + to
			}
			list = append(list, line)
			return nil
		}))
	}
	return list
}

// Check ends the test if there is an error.
func Check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Documented returns the block of a document that names the running test.
func Documented(t *testing.T, file string) string {
	t.Helper()
	for _, b := range Blocks(t, file) {
		if b.Marker == "run: "+t.Name() {
			return b.Text
		}
	}
	t.Fatalf("%s has no block for this test", file)
	return ""
}
