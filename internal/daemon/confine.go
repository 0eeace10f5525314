package daemon

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// keptCaps are the capabilities (capabilities(7)) of a confined program: to
// write to any file and directory in its root, and to make that its root. Until then
// it has the host's: sandbox.Guard keeps it to itself.
var keptCaps = map[uintptr]bool{unix.CAP_DAC_OVERRIDE: true, unix.CAP_FOWNER: true, unix.CAP_SYS_CHROOT: true, unix.CAP_WAKE_ALARM: true}

// startConfined is syscall.ForkExec with no other capabilities than those. The
// child has them of the thread that starts it, which ends with the goroutine.
func startConfined(path string, args []string, attr *syscall.ProcAttr) (pid int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked
		if err = confine(); err != nil {
			err = fmt.Errorf("give up its rights: %w", err)
			return
		}
		pid, err = syscall.ForkExec(path, args, attr)
	}()
	<-done
	return pid, err
}

// confine limits what this thread's children have once they execute a program.
func confine() error {
	for c := uintptr(0); ; c++ {
		set, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // the kernel has no more
		}
		if err != nil {
			return err
		}
		if set == 0 || keptCaps[c] {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return err
	}
	for i := range data { // root executes with what is inheritable beside what is bounded
		data[i].Inheritable = 0
	}
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}
