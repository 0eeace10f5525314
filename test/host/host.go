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

// Qemu is the program that runs those of another architecture.
func Qemu(arch string) string {
	return Unpacked("qemu/usr/bin/qemu-" + arch + "-static")
}

// Block is a piece of a document to be typed, or read as a file. The comment
// before it, which readers do not see, says what a test makes of it:
//
//	run WHERE        what is behind each "$", with just this output; without
//	                 any "$" it is a script that succeeds
//	run: TestNAME    that test does what it says
//	rules            rules that devlogd takes
//	golden NAME      what check says in that file of testdata/golden
//	illustration     nobody runs it
type Block struct {
	At, Marker, Text string
}

var comment = regexp.MustCompile(`^<!-- (.*) -->$`)

// Blocks returns the fenced and the indented blocks of a document.
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

// holderEnv tells the test binary to be the first process of a fake host.
const holderEnv = "DEVLOG_TEST_HOLDER"

// Host is a fake host: mount and PID namespaces with a /dev, /run and /var/log
// of their own, which all end with the test.
type Host struct {
	T   *testing.T
	Pid int
}

// Result is what a command has done.
type Result struct {
	Code        int
	Out, ErrOut string
}

// NewHost makes a fake host. At the end of the test it fails the test if
// anything still runs in it.
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
	t.Cleanup(func() {
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
	// crun takes this hierarchy beside cgroup v1 for the only one, and fails.
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

// Path is where the test finds the host's file name.
func (h *Host) Path(name string) string {
	return filepath.Join("/proc", strconv.Itoa(h.Pid), "root", name)
}

// Command is a command to be run on the host, in its "/".
func (h *Host) Command(ctx context.Context, args ...string) *exec.Cmd {
	ns := fmt.Sprintf("/proc/%d/ns/", h.Pid)
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--mount=" + ns + "mnt", "--pid=" + ns + "pid", "--"}, args...)...)
	cmd.WaitDelay = Deadline // what keeps an output open after the command's end is a defect, not for ever
	return cmd
}

// Do runs a command on the host to its end, and until nothing holds its output
// open any more: what hangs a runtime fails here.
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

// Detached runs a command on the host to its end, while what it has started may
// keep its output, as the process of a created container does.
func (h *Host) Detached(args ...string) Result {
	h.T.Helper()
	ctx, cancel := context.WithTimeout(h.T.Context(), 2*Deadline)
	defer cancel()
	cmd := h.Command(ctx, args...)
	out, err := os.CreateTemp(h.T.TempDir(), "out")
	Check(h.T, err)
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	text, rerr := os.ReadFile(out.Name())
	Check(h.T, errors.Join(rerr, out.Close()))
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		h.T.Fatalf("%q: %v (%v)\noutput: %s\nprocesses: %q", args, err, ctx.Err(), text, h.Processes())
	}
	return Result{Code: cmd.ProcessState.ExitCode(), ErrOut: string(text)}
}

// Must is Do for a command that has to succeed.
func (h *Host) Must(args ...string) Result {
	h.T.Helper()
	r := h.Do(args...)
	if r.Code != 0 {
		h.T.Fatalf("%q: exit code %d\nstdout: %s\nstderr: %s", args, r.Code, r.Out, r.ErrOut)
	}
	return r
}

// Processes lists what runs on the host, in its containers too, but for its
// first process: "PID command line". PIDs are the host's.
func (h *Host) Processes() []string {
	h.T.Helper()
	dirs, err := filepath.Glob(h.Path("/proc/[0-9]*"))
	Check(h.T, err)
	var list []string
	for _, dir := range dirs {
		pid := filepath.Base(dir)
		line, err := os.ReadFile(dir + "/cmdline")
		if err != nil || pid == "1" || len(line) == 0 { // has ended, or is a zombie
			continue
		}
		if strings.Contains(string(line), listenerArg) { // the test's own
			continue
		}
		list = append(list, pid+" "+strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " ")))
	}
	return list
}

// Receivers lists the PIDs of the receivers, by the name they were started
// under: in a container their program is a copy without a name.
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
		// A receiver's child that is about to execute a repair.
		f := h.Stat(pid)
		return f == nil || slices.ContainsFunc(all, func(of int) bool { return f[1] == strconv.Itoa(of) })
	})
}

// Stat is what the host's /proc/PID/stat says after the command: the state, the
// parent's process ID, ...; nil if the process has gone.
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

// Tree lists what is below directories of the host, with types and links'
// targets, but for what is below the directories in skip.
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

// Documented is the block of a document that names the running test.
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
