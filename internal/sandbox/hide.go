package sandbox

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Guard is a capability that a confined receiver keeps although it does nothing
// with it (CAP_WAKE_ALARM is to set a timer that ends a suspend). No engine gives it
// to containers by default: the kernel lets none of them look into a process that
// has one capability more than they have (cap_ptrace_access_check in
// security/commoncap.c), at no instant, also not between execve(2) and Hide.
const Guard = unix.CAP_WAKE_ALARM

// Hide keeps this program to itself: whoever has its user and its capabilities could
// otherwise read and write its memory, and reach its root directory and open files
// through /proc/PID (PR_SET_DUMPABLE of prctl(2)). execve(2) undoes it. A user's
// program that has no capability stays as all of his are.
func Hide() {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if os.Geteuid() != 0 && unix.Capget(&header, &data[0]) == nil && data[0].Permitted|data[1].Permitted == 0 {
		return
	}
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // it fails nowhere
}

// Unhide undoes Hide, for a program that has nothing but what its container has.
func Unhide() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) }

// DropGuard gives up the guard and no other capability, in every thread.
func DropGuard() { direct.dropGuard() }

func (k *kernel) dropGuard() {
	header := &arg.header
	*header = unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := &arg.caps
	if unix.Capget(header, &data[0]) != nil || data[Guard/32].Permitted&(1<<(Guard%32)) == 0 {
		return
	}
	data[Guard/32].Permitted &^= 1 << (Guard % 32)
	data[Guard/32].Effective &^= 1 << (Guard % 32)
	data[Guard/32].Inheritable &^= 1 << (Guard % 32)
	_ = k.all(unix.SYS_CAPSET, uintptr(unsafe.Pointer(header)), uintptr(unsafe.Pointer(data)), 0)
}
