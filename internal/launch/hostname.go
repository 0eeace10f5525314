package launch

import (
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/hook"
	"devlog/internal/target"
)

// hostNameArgs returns the receiver's arguments for the host name that the container's
// programs use: the name from the runtime, which sets it after its hooks have run, or else
// the one in the container's UTS namespace. Without it, a host name in a message stays in
// the message's text.
func hostNameArgs(t *target.Target, name string) []string {
	if name == "" && !t.Host && t.PID > 0 && !t.ReceiverInside() {
		if own, err := os.Hostname(); err == nil {
			if name = utsName(t.PID); name == own { // the receiver knows it
				return nil
			}
		}
	}
	if hook.CheckName(name) != nil {
		return nil
	}
	return []string{"--host-name", name}
}

// utsName returns the host name in the UTS namespace of a process (setns(2)); empty without
// the privilege to enter it.
func utsName(pid int) string {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/ns/uts", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	found := make(chan string)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this
		var uts unix.Utsname
		if unix.Setns(fd, unix.CLONE_NEWUTS) == nil && unix.Uname(&uts) == nil {
			found <- unix.ByteSliceToString(uts.Nodename[:])
			return
		}
		found <- ""
	}()
	return <-found
}
