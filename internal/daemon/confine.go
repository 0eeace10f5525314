package daemon

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// keptCaps are the capabilities (capabilities(7)) of a confined program: to write any file and
// directory in its root, and to change its root. Until it has changed its root, it could use
// them on the host's files, so sandbox.Guard restricts it.
var keptCaps = map[uintptr]bool{unix.CAP_DAC_OVERRIDE: true, unix.CAP_FOWNER: true, unix.CAP_SYS_CHROOT: true, unix.CAP_WAKE_ALARM: true}

// startConfined is syscall.ForkExec with only those capabilities. The child inherits them from
// the starting thread, which ends with its goroutine.
func startConfined(path string, args []string, attr *syscall.ProcAttr) (pid int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked
		if err = confine(); err != nil {
			err = fmt.Errorf("cannot drop its privileges: %w", err)
			return
		}
		pid, err = syscall.ForkExec(path, args, attr)
	}()
	<-done
	return pid, err
}

// confine limits the capabilities of this thread's children after they execute a program.
func confine() error {
	for c := uintptr(0); ; c++ {
		set, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // the kernel knows no more
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
	for i := range data { // a root process executes a program with the inheritable capabilities too, not only the bounding set
		data[i].Inheritable = 0
	}
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}
