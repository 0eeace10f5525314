// Package sandbox owns the sandbox: how a program gives up, for all of its
// threads and for good, what it needs no more of its rights.
//
// The system calls are made directly. A package for them would cost each
// receiver more memory than the calls do (docs/adr/0010-sandbox.md).
package sandbox

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Caps is a set of capabilities (capabilities(7)), bit by bit.
type Caps uint64

// CapsOf returns the set of those (unix.CAP_*).
func CapsOf(list ...int) (set Caps) {
	for _, c := range list {
		set |= 1 << c
	}
	return set
}

// Mode says when a receiver confines itself.
type Mode string

// Auto confines as far as what is to be done later allows.
const (
	Auto Mode = "auto"
	On   Mode = "on"
	Off  Mode = "off"
)

// ParseMode reads a mode; empty is Auto.
func ParseMode(text string) (Mode, error) {
	switch m := Mode(text); m {
	case "":
		return Auto, nil
	case Auto, On, Off:
		return m, nil
	}
	return "", fmt.Errorf("want auto, on or off, not %q", text)
}

// Policy says what a program keeps.
type Policy struct {
	// Caps are the capabilities that are kept, as far as they are there.
	Caps Caps
	// Guarded keeps the capability Guard beside them, to be left alone by others.
	Guarded bool
	// Landlock confines what is done with files to Rules, and signals, abstract
	// sockets and TCP to what is inside.
	Landlock bool
	Rules    []Rule
	// Passes leaves, with Landlock, sendmsg(2), by which open files are passed to others.
	Passes bool
	// User is who the program becomes; nil leaves it who it is.
	User *User
}

// Result says which parts hold. What does not is no error: older kernels, and
// filters of system calls, have less.
type Result struct {
	NoNewPrivs bool
	// Caps says that there are no other capabilities than those kept.
	Caps bool
	// Landlock is the version of Landlock that confines; 0 is none.
	Landlock int
	// Keeps says that no open file can be passed to others.
	Keeps bool
	// Problems are why a part does not hold.
	Problems []error
}

// kernel makes the system calls; tests put others in its place.
type kernel struct {
	// one makes a call in this thread, all in every thread of the process.
	one func(trap, a, b, c uintptr) (uintptr, unix.Errno)
	all func(trap, a, b, c uintptr) unix.Errno
}

// arg is what the calls are passed pointers to: memory that stays where it is.
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

// Enter gives everything up that the policy does not keep. An error is that
// the user could not be taken on; everything else goes as far as it can.
func Enter(p Policy) (Result, error) { return direct.enter(p) }

func (k *kernel) enter(p Policy) (r Result, err error) {
	if p.User != nil {
		if err := k.become(*p.User); err != nil {
			return r, err
		}
	}
	// With this an execve(2) as root gains no capability that was dropped
	// (cap_bprm_creds_from_file in security/commoncap.c), and Landlock is for
	// whoever has none.
	if err := k.all(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != 0 {
		r.Problems = append(r.Problems, fmt.Errorf("set no_new_privs: %w", err))
	} else {
		r.NoNewPrivs = true
	}
	if p.Landlock { // while there may still be a capability that it needs
		if r.Landlock, err = k.landlock(p.Rules); err != nil {
			r.Problems = append(r.Problems, err)
		}
	}
	if err := k.drop(p); err != nil {
		r.Problems = append(r.Problems, err)
	} else {
		r.Caps = true
	}
	if r.Landlock > 0 { // without it a receiver needs nobody to open files for it
		if err := k.refuseCalls(p.Passes); err != nil {
			r.Problems = append(r.Problems, err)
		} else {
			r.Keeps = !p.Passes
		}
	}
	return r, nil
}

// drop leaves no capabilities but those that the policy keeps and that are permitted.
// Nothing is inheritable, and so nothing ambient, but the guard of a user's: what he
// executes would lose it.
func (k *kernel) drop(p Policy) error {
	arg.header = unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := &arg.caps
	if err := unix.Capget(&arg.header, &data[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
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
	if !changes { // as in a program that replaces another one
		return nil
	}
	if err := k.all(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&arg.header)), uintptr(unsafe.Pointer(data)), 0); err != 0 {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	if inherits {
		_ = k.all(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, Guard) // since Linux 4.3
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

// capNames are the capabilities' names by number, as far as any is kept.
var capNames = [...]string{"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid",
	"setpcap", "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
	"sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin"}
