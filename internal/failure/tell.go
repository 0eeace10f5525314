package failure

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/syslog"
)

// Tell writes the text to the kernel's log kmsg, which the host and its containers share. An
// unprivileged hook cannot: if hostLog is not empty, Tell then sends it to that socket, which
// is the host's syslog daemon's. Errors are ignored: the text is on standard error too.
func Tell(kmsg, hostLog, container, text string) {
	if container != "" {
		text = "container " + syslog.Escape(container) + ": " + text
	}
	text = noteMark + text
	priority := syslog.MakePriority(syslog.User, syslog.Err)
	err := file.WriteKernelLog(kmsg, syslog.KernelRecord(priority, text))
	if err != nil && hostLog != "" && !looksContained() {
		stamp := time.Now().Format(time.Stamp) + " "
		sendTo(hostLog, bytes.TrimSpace(syslog.KernelRecord(priority, stamp+text)))
	}
}

// OfPanic returns the error for a panic that the caller recovered, with the place of the panic.
func OfPanic(reason any) error {
	callers := make([]uintptr, 32)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	for panicked := false; ; {
		frame, more := frames.Next()
		if panicked && !strings.HasPrefix(frame.Function, "runtime.") || !more {
			return fmt.Errorf("internal error: %v (%s, line %d); hint: report it as a bug", reason, frame.Function, frame.Line)
		}
		panicked = panicked || frame.Function == "runtime.gopanic"
	}
}

// looksContained returns whether this process may be in a container although its caller
// says that it is on the host: its parent is the first process of its PID namespace, and
// /proc is of that namespace. At createContainer /proc is the host's.
func looksContained() bool {
	self, err := os.Readlink("/proc/self")
	return os.Getppid() == 1 && (err != nil || self == strconv.Itoa(os.Getpid()))
}

// sendTo sends a message to a datagram socket without waiting.
func sendTo(path string, message []byte) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_ = unix.Sendto(fd, message, unix.MSG_NOSIGNAL, &unix.SockaddrUnix{Name: path}) // see Tell
}
