package host

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/nodecall"
)

// Manager is a service manager of a fake host, with one service: devlogd --node. It keeps files for the
// service's next process, and its socket for calls, as systemd does; or it keeps nothing, as others do.
type Manager struct {
	t       *testing.T
	h       *Host
	program string
	said    *os.File // by the service
	Keeps   bool     // it keeps files for the process that runs
	calls   int      // the socket for calls; -1 for none

	close func()
	conn  *net.UnixConn // what the service tells it
	mu    sync.Mutex
	files map[string][]int // by name
	heard chan struct{}    // gets a value for each message of its own

	passed, named int // files that were passed to the process, and the length of their names

	process *os.Process
	PID     int           // of the service's process, on the host
	ended   chan struct{} // closed when that has ended
}

// notifySocket is where it hears what the service tells it (sd_notify(3)), and heardAll is its message to
// itself.
const (
	notifySocket = "/run/notify"
	heardAll     = "HEARD=1"
)

// NewManager returns a manager for a service with that program, which is not started.
func NewManager(t *testing.T, h *Host, program string) *Manager {
	t.Helper()
	m := &Manager{t: t, h: h, program: program, calls: -1, files: map[string][]int{}, heard: make(chan struct{}, 1), ended: make(chan struct{})}
	close(m.ended)
	var err error
	m.said, err = os.CreateTemp(t.TempDir(), "said")
	Check(t, err)
	m.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: h.Path(notifySocket)})
	Check(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for m.hear() == nil {
		}
	}()
	m.close = sync.OnceFunc(func() {
		m.End("KILL")
		_ = m.conn.Close() // ends the goroutine
		<-done
		m.forget()
		_ = os.Remove(h.Path(notifySocket))
	})
	t.Cleanup(func() {
		m.close()
		if text, err := os.ReadFile(m.said.Name()); t.Failed() && err == nil {
			t.Logf("the service: %s", text[max(0, len(text)-4<<10):])
		}
	})
	return m
}

// hear carries out the next message. It returns an error when the socket is closed.
func (m *Manager) hear() error {
	text, oob := make([]byte, 4<<10), make([]byte, unix.CmsgSpace(4*16))
	n, oobn, _, _, err := m.conn.ReadMsgUnix(text, oob)
	if err != nil {
		return err
	}
	var fds []int
	if controls, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(controls) == 1 {
		fds, _ = unix.ParseUnixRights(&controls[0]) // nothing else is sent
	}
	said := map[string]string{}
	for line := range strings.SplitSeq(string(text[:n]), "\n") {
		key, value, _ := strings.Cut(line, "=")
		said[key] = value
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	name := said["FDNAME"]
	switch {
	case string(text[:n]) == heardAll:
		m.heard <- struct{}{}
	case said["FDSTORE"] == "1":
		m.files[name], fds = append(m.files[name], fds...), nil
	case said["FDSTOREREMOVE"] == "1":
		closeAll(m.files[name])
		delete(m.files, name)
	}
	closeAll(fds)
	return nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd) // one of ours
	}
}

// forget closes the files that are kept.
func (m *Manager) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, fds := range m.files {
		closeAll(fds)
	}
	m.files = map[string][]int{}
	if m.calls >= 0 {
		closeAll([]int{m.calls})
		_ = os.Remove(m.h.Path(nodecall.Socket)) // the service may have replaced it
	}
	m.calls = -1
}

// Start starts the service, whose earlier process has ended, with the files that are kept for it. Without
// keeps, it has no manager that keeps files.
func (m *Manager) Start(keeps bool) {
	m.t.Helper()
	env := os.Environ()
	files, names := []int{}, []string{}
	if m.Keeps = keeps; !keeps {
		m.forget()
	} else {
		m.hearAll()
		m.listen()
		files, names = append(files, m.calls), append(names, "node")
		m.mu.Lock()
		for _, name := range slices.Sorted(maps.Keys(m.files)) {
			for _, fd := range m.files[name] {
				files, names = append(files, fd), append(names, name)
			}
		}
		m.mu.Unlock()
		env = append(env, "NOTIFY_SOCKET="+notifySocket, "LISTEN_FDS="+strconv.Itoa(len(files)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	}
	m.passed, m.named = len(files), len(strings.Join(names, ":"))
	pid, err := m.h.start([]string{m.program, "--node"}, env, int(m.said.Fd()), files)
	Check(m.t, err)
	m.process, err = os.FindProcess(pid)
	Check(m.t, err)
	m.PID, err = inner(pid)
	Check(m.t, err)
	ended := make(chan struct{})
	m.ended = ended
	process := m.process
	go func() {
		defer close(ended)
		_, _ = process.Wait() // how it has ended is not asked for
	}()
}

// hearAll waits until all that was sent has been heard.
func (m *Manager) hearAll() {
	m.t.Helper()
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.h.Path(notifySocket)})
	Check(m.t, err)
	defer func() { _ = conn.Close() }()
	_, err = conn.Write([]byte(heardAll))
	Check(m.t, err)
	<-m.heard
}

// listen opens the socket for calls, if it is not open.
func (m *Manager) listen() {
	m.t.Helper()
	if m.calls >= 0 {
		return
	}
	path := m.h.Path(nodecall.Socket)
	m.h.Must("mkdir", "-p", "/run/devlog")
	_ = os.Remove(path) // of a service that had no manager
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	Check(m.t, err)
	Check(m.t, errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Chmod(path, 0o600), unix.Listen(fd, unix.SOMAXCONN)))
	m.calls = fd
}

// End sends a signal to the service, and waits for the end of its processes, as systemd does; where nothing
// is kept, for the end of the first only.
func (m *Manager) End(signal string) {
	m.t.Helper()
	if m.HasEnded() {
		return
	}
	m.Signal(signal)
	if !WaitFor(func() bool { return m.HasEnded() && (!m.Keeps || m.Reader() == 0) }) {
		m.t.Errorf("the service does not end by SIG%s: %q", signal, m.h.Processes())
	}
}

// Close ends the service and the manager.
func (m *Manager) Close() { m.close() }

// Signal sends a signal to the service.
func (m *Manager) Signal(name string) {
	m.t.Helper()
	Check(m.t, m.process.Signal(unix.SignalNum("SIG"+name)))
}

// HasEnded returns whether the service's process has ended.
func (m *Manager) HasEnded() bool {
	select {
	case <-m.ended:
		return true
	default:
		return false
	}
}

// Kept returns how many files are kept.
func (m *Manager) Kept() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, fds := range m.files {
		n += len(fds)
	}
	return n
}

// Said returns what the service's processes have written to standard error.
func (m *Manager) Said() string {
	text, _ := os.ReadFile(m.said.Name()) // it is there
	return string(text)
}

// Passed returns how many files were passed to the service's process, and how long their names were.
func (m *Manager) Passed() (files, names int) { return m.passed, m.named }

// Reader is the service's process that reads messages, on the host; 0 for none.
func (m *Manager) Reader() (pid int) {
	return m.h.NodeProcess("--node-reader", 0)
}

// NodeProcess is the oldest process of the node with that option, other than the one before; 0
// for none. A younger one may be about to execute another program.
func (h *Host) NodeProcess(option string, before int) (pid int) {
	for _, p := range h.Processes() {
		if f := strings.Fields(p); len(f) > 2 && f[2] == option {
			if n, err := strconv.Atoi(f[0]); err == nil && n != before && (pid == 0 || n < pid) {
				pid = n
			}
		}
	}
	return pid
}

// start starts a command in the host's "/", with these files from descriptor 3 on. It is a child of this
// process: no nsenter(1) has the files open too. The result is its process ID here.
func (h *Host) start(args, env []string, stderr int, files []int) (pid int, err error) {
	fds := []uintptr{uintptr(stderr), uintptr(stderr), uintptr(stderr)}
	for _, fd := range files {
		fds = append(fds, uintptr(fd))
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread, whose namespaces are the host's, ends
		err := unix.Unshare(unix.CLONE_FS)
		for _, ns := range []string{"pid", "mnt"} {
			var fd int
			if err == nil {
				fd, err = unix.Open(fmt.Sprintf("/proc/%d/ns/%s", h.Pid, ns), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			}
			if err == nil {
				err = unix.Setns(fd, 0)
				_ = unix.Close(fd)
			}
		}
		if err == nil {
			pid, err = syscall.ForkExec(args[0], args, &syscall.ProcAttr{Dir: "/", Env: env, Files: fds})
		}
		done <- err
	}()
	err = <-done
	return pid, err
}

// inner is the process ID that a process of the host has there.
func inner(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, list, _ := strings.Cut(string(text), "\nNSpid:")
	list, _, _ = strings.Cut(list, "\n")
	f := strings.Fields(list)
	if len(f) == 0 {
		return 0, errors.New("no NSpid in " + string(text))
	}
	return strconv.Atoi(f[len(f)-1])
}
