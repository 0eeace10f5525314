package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/handover"
)

// A receiver can be a transient service of systemd's, which starts it anew when
// it was killed. systemd-run(1) starts it, as a child of systemd's that has none
// of our files; it fetches them from a socket whose path it finds in its
// environment, and gives systemd those that it needs to go on.

const (
	// UnitPrefix begins the names of the services of receivers.
	UnitPrefix = "devlog-"
	unitSuffix = ".service"
	// maxUnit is UNIT_NAME_MAX of systemd, with room for a number.
	maxUnit = 255 - len(unitSuffix) - len("-99")
	// maxUnits is how many names are tried.
	maxUnits = 20
	// ExitFinal is the exit status of a receiver that is not to be started
	// again: EX_CONFIG of sysexits(3).
	ExitFinal = 78
)

// booted is there where systemd is the init (sd_booted(3)).
const booted = "/run/systemd/system"

// programDirs are where systemd's programs may be; a hook may have no PATH.
var programDirs = []string{"/usr/bin", "/bin", "/run/current-system/sw/bin"}

// ErrNoSystemd says that there is no systemd that could start a receiver.
var ErrNoSystemd = errors.New("systemd is not this system's init")

// Booted says that systemd is this system's init.
func Booted() bool {
	st, err := os.Lstat(booted)
	return err == nil && st.IsDir()
}

// CanSupervise says why no receiver can be a service of systemd's here.
func CanSupervise() error {
	if !Booted() {
		return ErrNoSystemd
	}
	_, err := findProgram("systemd-run")
	return err
}

func findProgram(name string) (string, error) {
	for _, dir := range programDirs {
		if file := filepath.Join(dir, name); unix.Access(file, unix.X_OK) == nil {
			return file, nil
		}
	}
	return "", fmt.Errorf("find %s in %s: %w", name, strings.Join(programDirs, ", "), unix.ENOENT)
}

// unitProperties are those of a receiver's service (systemd.service(5)). They are
// no variable, which each receiver would have.
func unitProperties() []string {
	return []string{
		// At a shutdown it has to outlive its container, whose last messages are yet to
		// come. What has default dependencies is after sysinit.target, so it is stopped
		// before this service; slices and the scopes in them are not, so slices are
		// named. It is in system.slice, which is never stopped. What it writes to is
		// unmounted later.
		"DefaultDependencies=no", "RequiresMountsFor=/var/log", "After=local-fs.target",
		"Before=sysinit.target machine.slice user.slice shutdown.target", "Conflicts=shutdown.target",
		"KillSignal=SIGINT", // on SIGTERM it goes on until its container ends
		"Type=notify", "NotifyAccess=main", "KillMode=mixed", "TimeoutStopSec=30",
		"Restart=on-failure", "RestartSec=100ms", fmt.Sprintf("RestartPreventExitStatus=%d", ExitFinal),
		// Senders wait for a receiver that is being started. One that cannot is
		// given up after a while, so that they do not wait for ever.
		"StartLimitIntervalSec=60", "StartLimitBurst=40",
		"FileDescriptorStoreMax=512",
		// A repair that it runs and that is killed is no reason to end it.
		"OOMPolicy=continue", "OOMScoreAdjust=-250",
		// What it says last is to be found: standard error would be what standard
		// output is.
		"StandardInput=null", "StandardOutput=null", "StandardError=journal", "LogRateLimitIntervalSec=0",
	}
}

// StartUnit is Start with a transient service of systemd's, which is named after
// the container. It returns the service's name as well.
func StartUnit(s Spec, container string) (pid int, unit string, err error) {
	if s.Sealed || s.Confined || len(s.Files) >= handover.MaxFiles {
		return 0, "", fmt.Errorf("start the receiver as a service: %w", errors.ErrUnsupported)
	}
	for n := 1; ; n++ {
		unit = UnitName(container, n)
		pid, err = s.startUnit(unit)
		if !errors.Is(err, errLoaded) || n == maxUnits {
			break // an earlier receiver of that name may be about to end
		}
	}
	var said *StartError
	if err != nil && !errors.As(err, &said) {
		err = fmt.Errorf("start the receiver %s as the service %s: %w", s.Path, unit, err)
	}
	return pid, unit, err
}

// UnitName is the name of the n-th service of receivers of that container,
// escaped as systemd-escape(1) does.
func UnitName(container string, n int) string {
	var b strings.Builder
	for i := range len(container) {
		switch c := container[i]; {
		case c == '/':
			b.WriteByte('-')
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == ':', c == '_', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	name := UnitPrefix + b.String()
	if len(name) > maxUnit {
		name = name[:maxUnit]
	}
	if n > 1 {
		name += fmt.Sprintf("-%d", n)
	}
	return name + unitSuffix
}

// errLoaded says that there is a unit of that name.
var errLoaded = errors.New("there is such a service already")

// startUnit is StartUnit with a name that may be in use: then the error is
// errLoaded.
func (s Spec) startUnit(unit string) (pid int, err error) {
	ready, report, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer ready.Close()
	defer report.Close()
	at, err := meet()
	if err != nil {
		return 0, err
	}
	defer at.close()
	deadline := time.Now().Add(s.Timeout)
	run, err := startProgram("systemd-run", s.runArgs(unit, at.path)...)
	if err != nil {
		return 0, err
	}
	defer run.close()
	conn, peer, err := at.accept(run, deadline)
	if err != nil {
		if ended, said := run.ended(); ended {
			if strings.Contains(said, "already loaded") || strings.Contains(said, "already exists") {
				return 0, errLoaded
			}
			return 0, fmt.Errorf("it ended before it was ready (%s)", said)
		}
		StopUnit(unit)
		return 0, err
	}
	defer unix.Close(conn)
	defer func() {
		if err != nil {
			StopUnit(unit)
		}
	}()
	files := append(slices.Clone(s.Files), handover.Passed{File: report, Name: handover.NameReady})
	if err := handover.SendFiles(conn, files); err != nil {
		return 0, err
	}
	report.Close()
	if err := await(ready, time.Until(deadline)); errors.Is(err, io.EOF) {
		return 0, errors.New("it ended before it was ready")
	} else if err != nil {
		return 0, err
	}
	// It ends when systemd has all files, and takes the service for started.
	if err := run.wait(deadline); err != nil {
		return 0, err
	}
	return peer, nil
}

// runArgs are the arguments of systemd-run(1).
func (s Spec) runArgs(unit, files string) []string {
	args := []string{"--quiet", "--collect", "--unit=" + unit, "--description=syslog receiver of a container (devlogd)"}
	for _, p := range unitProperties() {
		args = append(args, "--property="+p)
	}
	for _, e := range append(slices.Clone(s.Env), handover.FilesVariable+"="+files) {
		args = append(args, "--setenv="+e)
	}
	args = append(args, "--", s.Path)
	for _, a := range s.Args {
		args = append(args, strings.ReplaceAll(a, "$", "$$")) // a variable's sign, to systemd
	}
	return args
}

// stopTime is how long the end of a service is waited for. One in an
// uninterruptible sleep does not end, and systemd goes on waiting for it.
const stopTime = 10 * time.Second

// StopUnit ends a service and waits for that. One that has ended is no error.
func StopUnit(unit string) {
	if p, err := startProgram("systemctl", "stop", unit); err == nil {
		_ = p.wait(time.Now().Add(stopTime)) // nobody is to be told: it is a failure's end
		p.close()
	}
}

const (
	// journalTime is how long the journal may take to answer.
	journalTime = 3 * time.Second
	// journalLines is how many lines of a service are looked at: systemd's own are
	// among them.
	journalLines = "20"
)

// SaidLast returns the last line that a receiver wrote to standard error as that
// service of systemd's, since its last start. It is in the journal; empty if there
// is no such line, or no journal.
func SaidLast(unit string) string {
	if !strings.HasPrefix(unit, UnitPrefix) || !strings.HasSuffix(unit, unitSuffix) || strings.ContainsAny(unit, "*?[") { // a pattern
		return ""
	}
	p, err := startProgram("journalctl", "--quiet", "--no-pager", "--output=cat", "--lines="+journalLines, "--unit="+unit)
	if err != nil {
		return ""
	}
	defer p.close()
	if p.wait(time.Now().Add(journalTime)) != nil {
		return ""
	}
	return lastSaid(string(p.said))
}

// starting begins systemd's own line about each start.
const starting = "Starting "

// lastSaid is the last line of devlogd's own in the text since its last start,
// without its name.
func lastSaid(text string) (last string) {
	for line := range strings.Lines(text) {
		if said, ok := strings.CutPrefix(strings.TrimSpace(line), "devlogd: "); ok {
			last = said
		} else if strings.HasPrefix(line, starting) {
			last = ""
		}
	}
	return last
}

// meeting is a socket at which a receiver fetches its files.
type meeting struct {
	dir, path string
	fd        int
}

func meet() (*meeting, error) {
	dir, err := os.MkdirTemp("/run", "devlog-start-") // nobody else may enter
	if err != nil {
		return nil, err
	}
	m := &meeting{dir: dir, path: filepath.Join(dir, "files")}
	if m.fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err == nil {
		if err = unix.Bind(m.fd, &unix.SockaddrUnix{Name: m.path}); err == nil {
			err = unix.Listen(m.fd, 1)
		}
	}
	if err != nil {
		m.close()
		return nil, fmt.Errorf("listen for the receiver at %s: %w", m.path, err)
	}
	return m, nil
}

func (m *meeting) close() {
	_ = unix.Close(m.fd)
	_ = os.RemoveAll(m.dir) // it is empty, and in /run
}

// accept waits for the receiver, and returns its process ID as well. If the
// program ends before, there is none.
func (m *meeting) accept(run *program, deadline time.Time) (conn, pid int, err error) {
	for {
		if err := handover.Poll(time.Until(deadline), m.fd, run.pipe()); err != nil {
			return -1, 0, err
		}
		conn, _, err := unix.Accept4(m.fd, unix.SOCK_CLOEXEC)
		if err == nil {
			if pid, err := handover.SamePeer(conn); err == nil {
				return conn, pid, nil
			}
			_ = unix.Close(conn)
			continue
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return -1, 0, err
		}
		if ended, _ := run.ended(); ended {
			return -1, 0, io.EOF
		}
	}
}

// program is one of systemd's that runs.
type program struct {
	name   string
	pid    int
	output *os.File
	said   []byte
	done   bool
}

func startProgram(name string, args ...string) (*program, error) {
	path, err := findProgram(name)
	if err != nil {
		return nil, err
	}
	return startProgramAt(path, append([]string{name}, args...)...)
}

// startProgramAt starts the program with that path and all its arguments.
func startProgramAt(path string, args ...string) (*program, error) {
	null, err := file.OpenNull()
	if err != nil {
		return nil, err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	if err := handover.CloseOnExec(); err != nil {
		r.Close()
		return nil, err
	}
	proc, err := os.StartProcess(path, args, &os.ProcAttr{
		Dir: "/", Env: []string{"PATH=" + strings.Join(programDirs, ":"), "LC_ALL=C"}, Files: []*os.File{null, w, w},
	})
	if err != nil {
		r.Close()
		return nil, err
	}
	pid := proc.Pid
	_ = proc.Release() // it is waited for until a deadline, which os.Process cannot
	return &program{name: args[0], pid: pid, output: r}, nil
}

// pipe is what becomes readable when the program says something or ends.
func (p *program) pipe() int { return int(p.output.Fd()) }

// ended says whether the program has ended, and then what it has said.
func (p *program) ended() (bool, string) {
	for !p.done && handover.Poll(0, p.pipe()) == nil {
		buf := make([]byte, 4<<10)
		n, err := unix.Read(p.pipe(), buf)
		p.said = append(p.said, buf[:max(n, 0)]...)
		p.done = n == 0 || err != nil && !errors.Is(err, unix.EINTR)
	}
	line, _, _ := bytes.Cut(bytes.TrimSpace(p.said), []byte("\n"))
	if len(line) == 0 {
		return p.done, p.name + " has failed"
	}
	return p.done, p.name + ": " + string(line)
}

// wait waits for the end of the program.
func (p *program) wait(deadline time.Time) error {
	for {
		ended, said := p.ended()
		if ended {
			status, err := reap(p.pid, deadline)
			if p.pid = 0; err == nil && status != 0 {
				err = errors.New(said)
			}
			runtime.KeepAlive(p.output)
			return err
		}
		if err := handover.Poll(time.Until(deadline), p.pipe()); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
}

// close ends the program, if it has not ended.
func (p *program) close() {
	if p.pid > 0 {
		_, _ = End(p.pid) // nobody is to be told: what it was to do has failed
	}
	p.output.Close()
}
