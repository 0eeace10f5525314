package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// call is what the kernel shows a filter.
type call struct {
	arch uint32
	nr   uintptr
	args [2]uint64
}

// run returns what the filter answers, as bpf_prog_run of the kernel does.
func run(t *testing.T, p []unix.SockFilter, c call) uint32 {
	t.Helper()
	var data [dataArgs + 16]byte
	binary.NativeEndian.PutUint32(data[dataNr:], uint32(c.nr))
	binary.NativeEndian.PutUint32(data[dataArch:], c.arch)
	for i, arg := range c.args {
		binary.NativeEndian.PutUint64(data[dataArgs+8*i:], arg)
	}
	a := uint32(0)
	for i := 0; ; i++ {
		in := p[i]
		var holds bool
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = binary.NativeEndian.Uint32(data[in.K:])
			continue
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		case unix.BPF_JMP | unix.BPF_K | unix.BPF_JEQ:
			holds = a == in.K
		case unix.BPF_JMP | unix.BPF_K | unix.BPF_JGE:
			holds = a >= in.K
		case unix.BPF_JMP | unix.BPF_K | unix.BPF_JSET:
			holds = a&in.K != 0
		default:
			t.Fatalf("instruction %d is %+v", i, in)
		}
		if holds {
			i += int(in.Jt)
		} else {
			i += int(in.Jf)
		}
	}
}

// Each architecture refuses all calls that pass files, and only these.
func TestFilter(t *testing.T) {
	for _, goarch := range []string{"386", "amd64", "arm", "arm64", "loong64", "mips", "mipsle", "ppc64le", "riscv64", "s390x"} {
		a := archOf(goarch)
		p := a.filter()
		flags := func(flags uint64) (args [2]uint64) {
			args[a.flags] = flags
			return args
		}
		for name, tt := range map[string]struct {
			call call
			want uint32
		}{
			"read":               {call{a.audit, unix.SYS_READ, [2]uint64{}}, allow.K},
			"sendto":             {call{a.audit, unix.SYS_SENDTO, [2]uint64{}}, allow.K},
			"recvmsg":            {call{a.audit, unix.SYS_RECVMSG, [2]uint64{}}, allow.K},
			"sendmsg":            {call{a.audit, unix.SYS_SENDMSG, [2]uint64{}}, refuse.K},
			"sendmmsg":           {call{a.audit, unix.SYS_SENDMMSG, [2]uint64{}}, refuse.K},
			"io_uring_setup":     {call{a.audit, unix.SYS_IO_URING_SETUP, [2]uint64{}}, refuse.K},
			"pidfd_getfd":        {call{a.audit, unix.SYS_PIDFD_GETFD, [2]uint64{}}, refuse.K},
			"clone3":             {call{a.audit, unix.SYS_CLONE3, [2]uint64{}}, lacks.K},
			"a thread":           {call{a.audit, unix.SYS_CLONE, flags(unix.CLONE_VM | unix.CLONE_THREAD)}, allow.K},
			"a process":          {call{a.audit, unix.SYS_CLONE, flags(unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_PIDFD | uint64(unix.SIGCHLD))}, allow.K},
			"a user namespace":   {call{a.audit, unix.SYS_CLONE, flags(unix.CLONE_NEWUSER | uint64(unix.SIGCHLD))}, refuse.K},
			"not dumpable":       {call{a.audit, unix.SYS_PRCTL, [2]uint64{unix.PR_SET_DUMPABLE, 0}}, allow.K},
			"dumpable":           {call{a.audit, unix.SYS_PRCTL, [2]uint64{unix.PR_SET_DUMPABLE, 1}}, refuse.K},
			"dumpable, high":     {call{a.audit, unix.SYS_PRCTL, [2]uint64{1<<32 | unix.PR_SET_DUMPABLE, 1<<32 | 1}}, refuse.K},
			"name":               {call{a.audit, unix.SYS_PRCTL, [2]uint64{unix.PR_SET_NAME, 1}}, allow.K},
			"a terminal":         {call{a.audit, unix.SYS_IOCTL, [2]uint64{1, unix.TCGETS}}, allow.K},
			"NOTIF_ADDFD":        {call{a.audit, unix.SYS_IOCTL, [2]uint64{1, 0x40182103}}, refuse.K},
			"x32":                {call{a.audit, x32 | unix.SYS_READ, [2]uint64{}}, refuse.K},
			"another ABI":        {call{a.audit ^ 1, unix.SYS_READ, [2]uint64{}}, refuse.K},
			"a skipped call":     {call{a.audit, math.MaxUint32, [2]uint64{}}, refuse.K},
			"more of refused":    {call{a.audit, append(a.refused, unix.SYS_SETUID)[0], [2]uint64{}}, refuse.K},
			"socketcall":         {call{a.audit, a.socketcall, [2]uint64{11}}, allow.K},
			"socketcall sendmsg": {call{a.audit, a.socketcall, [2]uint64{subSendmsg}}, refuse.K},
			"socketcall mmsg":    {call{a.audit, a.socketcall, [2]uint64{subSendmmsg}}, refuse.K},
		} {
			if strings.HasPrefix(name, "socketcall") && a.socketcall == 0 {
				continue
			}
			if got := run(t, p, tt.call); got != tt.want {
				t.Errorf("%s: %s is answered %x, want %x", goarch, name, got, tt.want)
			}
		}
	}
	if archOf("vax").audit != 0 {
		t.Error("there is a filter for an architecture that nobody has looked at")
	}
}

// tryFilter is a confined program in a thread of which each call is tried, and in what it
// executes.
func tryFilter() {
	if r, err := Enter(Policy{Landlock: true}); err != nil || r.Landlock == 0 {
		fmt.Println("no Landlock", err, r.Problems)
		return
	}
	done := make(chan bool)
	go func() {
		runtime.LockOSThread()
		defer close(done)
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		fmt.Println("pair", err)
		fmt.Println("sendto", unix.Send(pair[0], []byte("x"), 0))
		fmt.Println("sendmsg", unix.Sendmsg(pair[0], []byte("x"), unix.UnixRights(0), nil, 0))
		_, _, e := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.CLONE_NEWUSER|unix.SIGCHLD), uintptr(unix.CLONE_NEWUSER), 0, 0, 0, 0)
		fmt.Println("namespace", error(e))
		fmt.Println("dumpable", unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0))
		fmt.Println("hidden", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
	}()
	<-done
}

func TestFilterHolds(t *testing.T) {
	if ABI() == 0 || archOf(runtime.GOARCH).audit == 0 {
		t.Skip("no Landlock, or no filter for this architecture")
	}
	const eperm = " operation not permitted\n"
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"SANDBOX_TEST=filter"}
	out, err := cmd.CombinedOutput()
	const want = "pair <nil>\nsendto <nil>\nsendmsg" + eperm + "namespace" + eperm + "dumpable" + eperm + "hidden <nil>\n"
	if err != nil || string(out) != want {
		t.Errorf("%v, %s, want %s", err, out, want)
	}
}

// A kernel without filters is not a problem to report. One that refuses is.
func TestFilterFallsBack(t *testing.T) {
	for deny, unsupported := range map[unix.Errno]bool{unix.ENOSYS: true, unix.EINVAL: true, unix.EACCES: false, unix.ENOMEM: false} {
		f := fake{abi: 7, deny: map[uintptr]unix.Errno{unix.SYS_SECCOMP: deny}}
		r, err := f.kernel().enter(Policy{Landlock: true})
		if err != nil || r.Keeps || r.Landlock != 7 || errors.Is(errors.Join(r.Problems...), errors.ErrUnsupported) != unsupported || len(r.Problems) != 1 {
			t.Errorf("%v: %+v, %v", deny, r, err)
		}
	}
	f := fake{abi: 7}
	if r, err := f.kernel().enter(Policy{Landlock: true}); err != nil || !r.Keeps || len(r.Problems) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
	f = fake{}
	if r, err := f.kernel().enter(Policy{Landlock: true}); err != nil || r.Keeps {
		t.Errorf("without Landlock: %+v, %v", r, err)
	}
}
