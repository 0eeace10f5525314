package launch

import (
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/hook"
	"devlog/internal/target"
)

// hostNameArgs are the receiver's arguments that tell it what the container's
// programs call their host: the name that a runtime gave, for it sets that after
// its hooks have run, else what the container's UTS namespace has. Without either
// messages with such a name are not lost, but have it in their text.
func hostNameArgs(t *target.Target, name string) []string {
	if name == "" && !t.Host && t.Pid > 0 && !t.ReceiverInside() {
		if own, err := os.Hostname(); err == nil {
			if name = utsName(t.Pid); name == own { // which the receiver knows
				return nil
			}
		}
	}
	if hook.CheckName(name) != nil {
		return nil
	}
	return []string{"--host-name", name}
}

// utsName returns the host name in the UTS namespace of a process (setns(2)), or
// "" without the right to look there.
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
