package sandbox

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Guard is a capability that a confined receiver keeps only as a protection (CAP_WAKE_ALARM
// lets it set a timer that ends a suspend). By default no engine gives it to containers, and
// the kernel does not let a process inspect one that has a capability more
// (cap_ptrace_access_check in security/commoncap.c). That holds at every moment, even between
// execve(2) and Hide.
const Guard = unix.CAP_WAKE_ALARM

// Hide protects this program from processes with the same user and capabilities: they could
// read and write its memory, and reach its root directory and open files through /proc/PID
// (PR_SET_DUMPABLE of prctl(2)). execve(2) undoes it. It does nothing for a user's program
// without capabilities.
func Hide() {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if os.Geteuid() != 0 && unix.Capget(&header, &data[0]) == nil && data[0].Permitted|data[1].Permitted == 0 {
		return
	}
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // it cannot fail
}

// Unhide undoes Hide, for a program with no more privileges than its container.
func Unhide() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) }

// DropGuard drops the guard in every thread, and keeps the other capabilities.
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
