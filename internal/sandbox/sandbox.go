// Package sandbox owns the sandbox: how a program permanently drops, in all its threads, the
// privileges that it does not need any more.
//
// It makes system calls directly: a library for them would need more memory in each receiver
// than the rest of the package (docs/adr/0010-sandbox.md).
package sandbox

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Caps is a set of capabilities (capabilities(7)), one bit each.
type Caps uint64

// CapsOf returns the set of these capabilities (unix.CAP_*).
func CapsOf(list ...int) (set Caps) {
	for _, c := range list {
		set |= 1 << c
	}
	return set
}

// Mode says whether a receiver confines itself.
type Mode string

// Auto confines as far as later work allows.
const (
	Auto Mode = "auto"
	On   Mode = "on"
	Off  Mode = "off"
)

// ParseMode parses a mode. An empty one is Auto.
func ParseMode(text string) (Mode, error) {
	switch m := Mode(text); m {
	case "":
		return Auto, nil
	case Auto, On, Off:
		return m, nil
	}
	return "", fmt.Errorf("want auto, on or off, not %q", text)
}

// Policy is what a program keeps.
type Policy struct {
	// Caps are the capabilities to keep, as far as the program has them.
	Caps Caps
	// Guarded also keeps the capability Guard.
	Guarded bool
	// Landlock limits files to Rules, and signals, abstract sockets and TCP to processes
	// inside.
	Landlock bool
	Rules    []Rule
	// User is the user to become; nil to stay the same.
	User *User
}

// Result says which parts are in force. A missing part is not an error: older kernels, and
// filters of system calls, support less.
type Result struct {
	NoNewPrivs bool
	// Caps says that only capabilities of the policy are left.
	Caps bool
	// Landlock is the version of Landlock in use; 0 for none.
	Landlock int
	// Keeps says that open files cannot be passed to others.
	Keeps bool
	// Problems are why parts are missing.
	Problems []error
}

// kernel makes the system calls. Tests replace it.
type kernel struct {
	// one makes a call in this thread, all makes it in every thread of the process.
	one func(trap, a, b, c uintptr) (uintptr, unix.Errno)
	all func(trap, a, b, c uintptr) unix.Errno
}

// arg holds what pointers in calls point to: global memory does not move.
var arg struct {
	ruleset ruleset
	path    unix.LandlockPathBeneathAttr
	filter  unix.SockFprog
	header  unix.CapUserHeader
	caps    [2]unix.CapUserData
}

var direct = kernel{
	one: func(trap, a, b, c uintptr) (uintptr, unix.Errno) {
		n, _, err := unix.Syscall(trap, a, b, c)
		return n, err
	},
	all: func(trap, a, b, c uintptr) unix.Errno {
		_, _, err := syscall.AllThreadsSyscall(trap, a, b, c)
		return err
	},
}

// Enter drops everything that the policy does not keep. It returns an error only if it cannot
// become the user; everything else is done as far as possible.
func Enter(p Policy) (Result, error) { return direct.enter(p) }

func (k *kernel) enter(p Policy) (r Result, err error) {
	if p.User != nil {
		if err := k.become(*p.User); err != nil {
			return r, err
		}
	}
	// After this, execve(2) as root does not regain dropped capabilities
	// (cap_bprm_creds_from_file in security/commoncap.c), and a program without capabilities
	// can use Landlock.
	if err := k.all(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != 0 {
		r.Problems = append(r.Problems, fmt.Errorf("cannot set no_new_privs: %w", err))
	} else {
		r.NoNewPrivs = true
	}
	if p.Landlock { // before dropping capabilities that it needs
		if r.Landlock, err = k.landlock(p.Rules); err != nil {
			r.Problems = append(r.Problems, err)
		}
	}
	if err := k.drop(p); err != nil {
		r.Problems = append(r.Problems, err)
	} else {
		r.Caps = true
	}
	if r.Landlock > 0 { // without Landlock, nobody needs to open files for the receiver
		if err := k.refuseCalls(); err != nil {
			r.Problems = append(r.Problems, err)
		} else {
			r.Keeps = true
		}
	}
	return r, nil
}

// drop drops all capabilities except those of the policy. None stay inheritable, and so none
// ambient, except a user's guard: a program that it executes would lose the guard otherwise.
func (k *kernel) drop(p Policy) error {
	arg.header = unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := &arg.caps
	if err := unix.Capget(&arg.header, &data[0]); err != nil {
		return fmt.Errorf("cannot drop capabilities: %w", err)
	}
	changes := false
	var guard Caps
	if p.Guarded {
		guard = CapsOf(Guard)
	}
	inherits := false
	for i := range data {
		set := data[i].Permitted & uint32(p.Caps>>(32*i))
		guards := data[i].Permitted & uint32(guard>>(32*i))
		want := unix.CapUserData{Effective: set, Permitted: set | guards}
		if p.User != nil {
			want.Inheritable = guards
			inherits = inherits || guards != 0
		}
		changes = changes || data[i] != want
		data[i] = want
	}
	if !changes { // nothing to change, as in a program that replaced another one
		return nil
	}
	if err := k.all(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&arg.header)), uintptr(unsafe.Pointer(data)), 0); err != 0 {
		return fmt.Errorf("cannot drop capabilities: %w", err)
	}
	if inherits {
		_ = k.all(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, Guard) // Linux 4.3 and later
	}
	return nil
}

// String lists the set, for people.
func (c Caps) String() string {
	var list []string
	for i := range 64 {
		if c&(1<<i) == 0 {
			continue
		}
		name := strconv.Itoa(i)
		if i < len(capNames) {
			name = capNames[i]
		}
		list = append(list, name)
	}
	return strings.Join(list, ", ")
}

// capNames are the names of capabilities by number, up to the last that is kept.
var capNames = [...]string{"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid",
	"setpcap", "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
	"sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin"}
