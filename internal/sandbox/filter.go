package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Landlock limits who opens a file, not who gets a handle on it. Root in a container is not in
// the sandbox: with a handle on the host's root directory it could use the host's files. So a
// filter of system calls (seccomp(2)) refuses the calls that pass an open file to other
// processes, or let them read it from this one.

// refused are system calls that a confined program does not need.
var refused = []uintptr{
	unix.SYS_SENDMSG, unix.SYS_SENDMMSG, // pass files to others
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, // makes calls that the filter does not see
	unix.SYS_PIDFD_GETFD, // takes what a container made for this: a filter's listener, a ring
	unix.SYS_PTRACE,
	unix.SYS_SETNS, unix.SYS_UNSHARE, // the container's root may inspect a process in its user namespace
	unix.SYS_CAPSET, unix.SYS_SETUID, unix.SYS_SETREUID, unix.SYS_SETRESUID, // drop Guard
}

// arch is how architectures differ.
type arch struct {
	audit      uint32    // AUDIT_ARCH_*; 0 if this package has no filter for it
	flags      uint32    // the index of clone(2)'s argument flags
	socketcall uintptr   // socketcall(2), through which all socket calls go; 0 for none
	refused    []uintptr // more refused calls
}

// wide are setuid(2), setreuid(2) and setresuid(2) with 32-bit IDs on i386 and ARM.
var wide = []uintptr{213, 203, 208}

func archOf(goarch string) arch {
	switch goarch {
	case "386":
		return arch{audit: unix.AUDIT_ARCH_I386, socketcall: 102, refused: wide}
	case "amd64":
		return arch{audit: unix.AUDIT_ARCH_X86_64}
	case "arm":
		return arch{audit: unix.AUDIT_ARCH_ARM, refused: wide}
	case "arm64":
		return arch{audit: unix.AUDIT_ARCH_AARCH64}
	case "loong64":
		return arch{audit: unix.AUDIT_ARCH_LOONGARCH64}
	case "mips":
		return arch{audit: unix.AUDIT_ARCH_MIPS, socketcall: 4102}
	case "mipsle":
		return arch{audit: unix.AUDIT_ARCH_MIPSEL, socketcall: 4102}
	case "ppc64le":
		return arch{audit: unix.AUDIT_ARCH_PPC64LE, socketcall: 102}
	case "riscv64":
		return arch{audit: unix.AUDIT_ARCH_RISCV64}
	case "s390x":
		return arch{audit: unix.AUDIT_ARCH_S390X, flags: 1, socketcall: 102}
	}
	return arch{}
}

// namespaces are the flags of clone(2) that make namespaces.
const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

const (
	// x32 is the first call of the x32 ABI, which x86-64 kernels accept too. Other ABIs have
	// no numbers that large.
	x32 = 1 << 30
	// subSendmsg and subSendmmsg are SYS_SENDMSG and SYS_SENDMMSG of linux/net.h.
	subSendmsg, subSendmmsg = 16, 20
)

// filter returns the program that the kernel runs at each system call. Calls of another ABI are
// refused, because they have other numbers.
func (a arch) filter() (p []unix.SockFilter) {
	p = append(p, load(dataArch), jump(unix.BPF_JEQ, a.audit, 1, 0), refuse,
		load(dataNr), jump(unix.BPF_JGE, x32, 0, 1), refuse)
	call := func(nr uintptr, then ...unix.SockFilter) {
		p = append(append(p, jump(unix.BPF_JEQ, uint32(nr), 0, uint8(len(then)))), then...)
	}
	for _, list := range [][]uintptr{refused, a.refused} {
		for _, nr := range list {
			call(nr, refuse)
		}
	}
	call(unix.SYS_CLONE3, lacks) // its flags are in memory, where the filter cannot see them
	call(unix.SYS_CLONE, load(argument(a.flags)), jump(unix.BPF_JSET, namespaces, 0, 1), refuse, allow)
	call(unix.SYS_PRCTL, load(argument(0)), jump(unix.BPF_JEQ, unix.PR_SET_DUMPABLE, 0, 2),
		load(argument(1)), jump(unix.BPF_JEQ, 0, 0, 1), allow, refuse)
	// Other requests pass files to others, such as SECCOMP_IOCTL_NOTIF_ADDFD.
	call(unix.SYS_IOCTL, load(argument(1)), jump(unix.BPF_JEQ, unix.TCGETS, 0, 1), allow, refuse)
	if a.socketcall != 0 {
		call(a.socketcall, load(argument(0)), jump(unix.BPF_JEQ, subSendmsg, 1, 0), jump(unix.BPF_JEQ, subSendmmsg, 0, 1), refuse, allow)
	}
	return append(p, allow)
}

// Offsets in struct seccomp_data (linux/seccomp.h).
const dataNr, dataArch, dataArgs = 0, 4, 16

// argument returns the offset of the lower half of the argument.
func argument(n uint32) uint32 {
	at := dataArgs + 8*n
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 { // big endian
		at += 4
	}
	return at
}

func load(at uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
}

// jump skips that many instructions: holds if the comparison with k is true, otherwise not.
func jump(how uint16, k uint32, holds, not uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | how, K: k, Jt: holds, Jf: not}
}

func answer(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }

// The results of a call.
var (
	allow  = answer(unix.SECCOMP_RET_ALLOW)
	refuse = answer(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM))
	lacks  = answer(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)) // the program then uses clone(2)
)

// refuseCalls installs the filter in every thread.
func (k *kernel) refuseCalls() error {
	here := archOf(runtime.GOARCH)
	if here.audit == 0 {
		return fmt.Errorf("cannot filter system calls: %w", errors.ErrUnsupported)
	}
	list := here.filter()
	arg.filter = unix.SockFprog{Len: uint16(len(list)), Filter: &list[0]}
	// Without this flag, kernels before 5.16 slow down the whole program.
	flags := uintptr(unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW)
	thread, err := k.one(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&arg.filter)))
	arg.filter.Filter = nil
	if err == 0 && thread != 0 {
		err = unix.EBUSY
	}
	switch err {
	case 0:
		return nil
	case unix.ENOSYS, unix.EINVAL:
		return fmt.Errorf("cannot filter system calls: %w", errors.ErrUnsupported)
	}
	return fmt.Errorf("cannot filter system calls: %w", err)
}
