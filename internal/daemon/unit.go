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

// A receiver can be a transient systemd service, which systemd restarts if it is killed.
// systemd-run(1) starts it as a child of systemd, without our files. The receiver fetches the
// files from a socket whose path is in its environment, and gives systemd those that a restart
// needs.

const (
	// UnitPrefix begins the names of receivers' services.
	UnitPrefix = "devlog-"
	unitSuffix = ".service"
	// maxUnit is UNIT_NAME_MAX of systemd, with room for a number.
	maxUnit = 255 - len(unitSuffix) - len("-99")
	// maxUnits is how many names are tried.
	maxUnits = 20
	// ExitFinal is the exit status of a receiver that systemd must not restart: EX_CONFIG of
	// sysexits(3).
	ExitFinal = 78
)

// booted exists where systemd is the init (sd_booted(3)).
const booted = "/run/systemd/system"

// programDirs are where systemd's programs may be; a hook may have no PATH.
var programDirs = []string{"/usr/bin", "/bin", "/run/current-system/sw/bin"}

// ErrNoSystemd means that systemd cannot start a receiver here.
var ErrNoSystemd = errors.New("systemd is not this system's init")

// Booted returns whether systemd is this system's init.
func Booted() bool {
	st, err := os.Lstat(booted)
	return err == nil && st.IsDir()
}

// CanSupervise returns why receivers cannot be systemd services here.
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
	return "", fmt.Errorf("cannot find %s in %s: %w", name, strings.Join(programDirs, ", "), unix.ENOENT)
}

// unitProperties returns the properties of a receiver's service (systemd.service(5)). It is
// not a variable, because each receiver would hold that in memory.
func unitProperties() []string {
	return []string{
		// At shutdown the receiver must outlive its container, whose last messages are still
		// to come. Units with default dependencies are after sysinit.target, so they stop
		// before this service. Slices, and scopes in them, are not, so slices are named. The
		// receiver is in system.slice, which is never stopped. Its file systems are unmounted
		// later.
		"DefaultDependencies=no", "RequiresMountsFor=/var/log", "After=local-fs.target",
		"Before=sysinit.target machine.slice user.slice shutdown.target", "Conflicts=shutdown.target",
		"KillSignal=SIGINT", // it ignores SIGTERM until its container ends
		"Type=notify", "NotifyAccess=main", "KillMode=mixed", "TimeoutStopSec=30",
		"Restart=on-failure", "RestartSec=100ms", fmt.Sprintf("RestartPreventExitStatus=%d", ExitFinal),
		// Senders wait for a receiver that is starting. systemd gives up after a while, so
		// that they do not wait for ever.
		"StartLimitIntervalSec=60", "StartLimitBurst=40",
		"FileDescriptorStoreMax=512",
		// If the repair that it runs is killed, it must continue.
		"OOMPolicy=continue", "OOMScoreAdjust=-250",
		// Its last words must be kept. By default, standard error goes where standard output
		// goes.
		"StandardInput=null", "StandardOutput=null", "StandardError=journal", "LogRateLimitIntervalSec=0",
	}
}

// StartUnit is Start as a transient systemd service, which is named after the container. It
// also returns the service's name.
func StartUnit(s Spec, container string) (pid int, unit string, err error) {
	if s.Sealed || s.Confined || len(s.Files) >= handover.MaxFiles {
		return 0, "", fmt.Errorf("cannot start the receiver as a service: %w", errors.ErrUnsupported)
	}
	for n := 1; ; n++ {
		unit = UnitName(container, n)
		pid, err = s.startUnit(unit)
		if !errors.Is(err, errLoaded) || n == maxUnits {
			break // an earlier receiver with that name may be about to end
		}
	}
	var said *StartError
	if err != nil && !errors.As(err, &said) {
		err = fmt.Errorf("cannot start the receiver %s as the service %s: %w", s.Path, unit, err)
	}
	return pid, unit, err
}

// UnitName returns the name of the n-th service for receivers of that container, escaped as
// systemd-escape(1) does.
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

// errLoaded means that a unit with that name exists.
var errLoaded = errors.New("a service with that name exists")

// startUnit is StartUnit with a name that may be in use. Then the error is errLoaded.
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
	// systemd-run ends when systemd has all files and considers the service started.
	if err := run.wait(deadline); err != nil {
		return 0, err
	}
	return peer, nil
}

// runArgs returns the arguments of systemd-run(1).
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
		args = append(args, strings.ReplaceAll(a, "$", "$$")) // systemd expands $
	}
	return args
}

// stopTime is how long to wait for the end of a service. A process in uninterruptible sleep
// does not end, and systemd keeps waiting for it.
const stopTime = 10 * time.Second

// StopUnit stops a service and waits for its end. A service that has ended is not an error.
func StopUnit(unit string) {
	if p, err := startProgram("systemctl", "stop", unit); err == nil {
		_ = p.wait(time.Now().Add(stopTime)) // the start has already failed
		p.close()
	}
}

const (
	// journalTime is how long to wait for the journal.
	journalTime = 3 * time.Second
	// journalLines is how many lines of a service to read: some are systemd's.
	journalLines = "20"
)

// SaidLast returns the last line in the journal that the receiver of that systemd service
// wrote to standard error since its last start; "" if it wrote nothing.
func SaidLast(unit string) string {
	if !strings.HasPrefix(unit, UnitPrefix) || !strings.HasSuffix(unit, unitSuffix) || strings.ContainsAny(unit, "*?[") { // it could be a pattern
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

// starting begins systemd's line about each start.
const starting = "Starting "

// lastSaid returns devlogd's last line in the text since its last start, without its name.
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

// meeting is a socket where a receiver fetches its files.
type meeting struct {
	dir, path string
	fd        int
}

func meet() (*meeting, error) {
	dir, err := os.MkdirTemp("/run", "devlog-start-") // nobody else may enter it
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
		return nil, fmt.Errorf("cannot listen for the receiver at %s: %w", m.path, err)
	}
	return m, nil
}

func (m *meeting) close() {
	_ = unix.Close(m.fd)
	_ = os.RemoveAll(m.dir) // it is empty, and in /run
}

// accept waits for the receiver's connection, and also returns the receiver's process ID. It
// fails if the program ends first.
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

// program is a running program of systemd's.
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

// startProgramAt starts the program at that path with these arguments.
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
	if err := file.CloseOnExec(); err != nil {
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
	_ = proc.Release() // wait needs a deadline, which os.Process does not have
	return &program{name: args[0], pid: pid, output: r}, nil
}

// pipe becomes readable when the program writes something or ends.
func (p *program) pipe() int { return int(p.output.Fd()) }

// ended returns whether the program has ended, and then what it wrote.
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

// close ends the program if it still runs.
func (p *program) close() {
	if p.pid > 0 {
		_, _ = End(p.pid) // its purpose has failed already
	}
	p.output.Close()
}
