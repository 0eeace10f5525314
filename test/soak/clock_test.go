//go:build soak

package soak

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"devlog/test/host"
)

// CLOCK_REALTIME is the same in all namespaces. But programs read it through the vDSO, code that the
// kernel maps into each process, and /proc/PID/mem can change that code in one process. Here it is
// made to add a number of seconds to the kernel's time.

// clockCode is the x86-64 code of clock_gettime(2); the seconds to add are at
// clockOffset.
var clockCode = []byte{
	0xb8, 228, 0, 0, 0, // mov eax, SYS_clock_gettime
	0x0f, 0x05, // syscall
	0x85, 0xff, // test edi, edi: CLOCK_REALTIME is 0
	0x75, 13, // jnz to the ret
	0x48, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0, // mov rcx, seconds
	0x48, 0x01, 0x0e, // add [rsi], rcx
	0xc3, // ret
}

const clockOffset = 13

// jumps are by how much a clock is set, forward or back.
var jumps = []time.Duration{time.Minute, time.Hour, 24 * time.Hour, 20 * 365 * 24 * time.Hour}

func anyJump(rng *rand.Rand) time.Duration {
	return jumps[rng.IntN(len(jumps))] * time.Duration(1-2*rng.IntN(2))
}

// setClock moves the clock of a process of the host. The result moves it back; it returns whether
// the process still runs that program.
func (s *soak) setClock(pid int, by time.Duration) (back func() bool) {
	s.t.Helper()
	code := slices.Clone(clockCode)
	binary.LittleEndian.PutUint64(code[clockOffset:], uint64(int64(by/time.Second)))
	before, ok := s.patchClock(pid, code)
	if !ok {
		s.t.Fatalf("process %d, whose clock was to be set, has ended", pid)
	}
	return func() bool {
		was, ok := s.patchClock(pid, before)
		return ok && bytes.Equal(was, code)
	}
}

// patchClock replaces the beginning of the process's clock_gettime, and returns the former code; ok
// is false if the process has ended.
func (s *soak) patchClock(pid int, code []byte) (before []byte, ok bool) {
	s.t.Helper()
	defer s.h.Do("kill", "-CONT", strconv.Itoa(pid))
	before = make([]byte, len(code))
	if !s.waitFor(func() bool {
		// None of its threads may be executing that code.
		s.h.Do("kill", "-STOP", strconv.Itoa(pid))
		f := s.h.Stat(pid)
		if f == nil || f[0] == "Z" {
			before = nil
			return true
		}
		mem, err := os.OpenFile(s.h.Path(fmt.Sprintf("/proc/%d/mem", pid)), os.O_RDWR, 0)
		if err != nil {
			return false
		}
		defer mem.Close()
		at, err := s.vdsoClock(pid, mem)
		if err != nil || !s.outside(pid, at, at+uint64(len(code))) {
			s.h.Do("kill", "-CONT", strconv.Itoa(pid))
			return false
		}
		_, rerr := mem.ReadAt(before, int64(at))
		_, werr := mem.WriteAt(code, int64(at))
		return rerr == nil && werr == nil
	}) {
		s.t.Fatalf("the clock of process %d cannot be set", pid)
	}
	return before, before != nil
}

// vdsoClock returns the address of the process's clock_gettime.
func (s *soak) vdsoClock(pid int, mem io.ReaderAt) (uint64, error) {
	maps, err := os.ReadFile(s.h.Path(fmt.Sprintf("/proc/%d/maps", pid)))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		if !strings.HasSuffix(line, "[vdso]\n") {
			continue
		}
		if _, err := fmt.Sscanf(line, "%x-%x ", &from, &to); err != nil {
			return 0, err
		}
		file, err := elf.NewFile(io.NewSectionReader(mem, from, to-from))
		if err != nil {
			return 0, err
		}
		symbols, err := file.DynamicSymbols()
		if err != nil {
			return 0, err
		}
		for _, x := range symbols {
			if x.Name == "__vdso_clock_gettime" {
				return uint64(from) + x.Value, nil
			}
		}
	}
	return 0, fmt.Errorf("process %d has no vDSO", pid)
}

// outside returns whether all threads of the process are stopped outside that code.
func (s *soak) outside(pid int, from, to uint64) bool {
	tasks, err := filepath.Glob(s.h.Path(fmt.Sprintf("/proc/%d/task/*", pid)))
	if err != nil || len(tasks) == 0 {
		return false
	}
	for _, task := range tasks {
		stat, err := os.ReadFile(task + "/stat")
		if err != nil || !bytes.Contains(stat[bytes.LastIndexByte(stat, ')'):], []byte(") T ")) {
			return false
		}
		// The system call's number or -1, its arguments, the stack pointer and the program counter.
		text, err := os.ReadFile(task + "/syscall")
		f := strings.Fields(string(text))
		if err != nil || len(f) < 2 {
			return false
		}
		at, err := strconv.ParseUint(f[len(f)-1], 0, 64)
		if err != nil || at >= from && at < to {
			return false
		}
	}
	return true
}

// jump moves the receiver's clock by a random jump, and waits until its lines show that.
func (b *box) jump() (back func()) {
	by := anyJump(b.s.rng)
	pid := b.mustReceiver()
	end := b.s.setClock(pid, by)
	b.stamped(by)
	return func() {
		if !end() {
			b.s.t.Fatalf("the clock of %d, of %s, was not as it had been set", pid, b.name)
		}
		b.stamped(0)
	}
}

// stamped waits until lines have the time of a clock that was moved by that much.
func (b *box) stamped(by time.Duration) {
	b.s.t.Helper()
	b.s.eventually(fmt.Sprintf("lines of %s have the time %v from now", b.name, by), func() bool {
		b.log.scan()
		want := time.Now().Add(by)
		got, err := time.ParseInLocation(time.Stamp, b.log.stamp, time.Local)
		if err != nil {
			return false
		}
		// The line has no year. 25 seconds are less than half of the shortest jump.
		got = got.AddDate(want.Year()-got.Year(), 0, 0)
		return got.Sub(want).Abs() < 25*time.Second
	})
}

// jumpClock moves the clock, and moves it back while the receiver works.
func jumpClock(b *box) func() {
	back := b.jump()
	b.sender.more(b.s.t, 1)
	return func() {
		back()
		b.works()
	}
}

// jumpOnFullDisk moves the clock and moves it back while messages are buffered.
func jumpOnFullDisk(b *box) func() {
	free := b.full()
	b.sender.more(b.s.t, 1)
	b.progress(1000)
	pid := b.mustReceiver()
	end := b.s.setClock(pid, anyJump(b.s.rng))
	return func() {
		free()
		b.works()
		if !end() {
			b.s.t.Fatalf("the clock of %d, of %s, was not as it had been set", pid, b.name)
		}
		b.works()
	}
}

// jumpAndUpgrade moves the clock; an upgrade moves it back, because the new program has a new vDSO.
// There are repairs before and after.
func jumpAndUpgrade(b *box) func() {
	b.jump()
	removeSocket(b)()
	end := upgrade(b)
	return func() {
		end()
		b.stamped(0)
		removeSocket(b)()
	}
}

// jumpAll moves all clocks of devlog at once, except those of receivers with another fault. There
// are repairs before and after.
func jumpAll(b *box) func() {
	s := b.s
	by := anyJump(s.rng)
	pids := []int{s.watcher()}
	for _, b := range s.boxes {
		if !b.served && !slices.Contains(s.struck, b) {
			pids = append(pids, b.mustReceiver())
		}
	}
	var back []func() bool
	for _, pid := range pids {
		back = append(back, s.setClock(pid, by))
	}
	end := replaced(b, func() { host.RemoveLog(s.t, s.h) })
	return func() {
		end()
		for i, f := range back {
			if !f() {
				s.t.Fatalf("the clock of %d was not as it had been set", pids[i])
			}
		}
		replaced(b, func() { host.RemoveLog(s.t, s.h) })()
	}
}
