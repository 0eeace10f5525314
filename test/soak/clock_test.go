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

// No namespace has a CLOCK_REALTIME of its own, and the machine's is everybody's.
// But programs read the clock in the vDSO, a page of code that the kernel maps for
// each process and that /proc/PID/mem can change: in one process that is made to
// add so much to what the kernel says.

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

// jumps are by how much a clock is set, forth or back.
var jumps = []time.Duration{time.Minute, time.Hour, 24 * time.Hour, 20 * 365 * 24 * time.Hour}

func anyJump(rng *rand.Rand) time.Duration {
	return jumps[rng.IntN(len(jumps))] * time.Duration(1-2*rng.IntN(2))
}

// setClock sets the clock of a process of the host by so much. The result, true
// if it still is that process with that program, sets it back.
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

// patchClock replaces the beginning of the process's clock_gettime, and returns
// what was there; false if there is no such process any more.
func (s *soak) patchClock(pid int, code []byte) (before []byte, ok bool) {
	s.t.Helper()
	defer s.h.Do("kill", "-CONT", strconv.Itoa(pid))
	before = make([]byte, len(code))
	if !s.waitFor(func() bool {
		// None of its threads may be just there.
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

// vdsoClock is the address of the process's clock_gettime.
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

// outside returns whether all threads of the process have stopped outside of that code.
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
		// The number of the system call or -1, its arguments, the stack and where it runs.
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

// jump sets the clock of the receiver by chance, and waits until the times of its
// lines show it.
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

// stamped waits until lines have the time that clocks set by so much have.
func (b *box) stamped(by time.Duration) {
	b.s.t.Helper()
	b.s.eventually(fmt.Sprintf("lines of %s have the time %v from now", b.name, by), func() bool {
		b.log.scan()
		want := time.Now().Add(by)
		got, err := time.ParseInLocation(time.Stamp, b.log.stamp, time.Local)
		if err != nil {
			return false
		}
		// There is no year in it; 25 seconds are less than half of the shortest jump.
		got = got.AddDate(want.Year()-got.Year(), 0, 0)
		return got.Sub(want).Abs() < 25*time.Second
	})
}

// jumpClock has the clock set, and set back while there is something to do.
func jumpClock(b *box) func() {
	back := b.jump()
	b.sender.more(b.s.t, 1)
	return func() {
		back()
		b.works()
	}
}

// jumpOnFullDisk has the clock set and set back while messages are kept.
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

// jumpAndUpgrade has the clock set, and set back in the moment of an upgrade: the
// new program has a vDSO of its own. There are repairs before and after.
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

// jumpAll has all our clocks set at once, but for those of receivers that have
// another fault, while there is something to repair before and after.
func jumpAll(b *box) func() {
	s := b.s
	by := anyJump(s.rng)
	pids := []int{s.keeper()}
	for _, b := range s.boxes {
		if !slices.Contains(s.struck, b) {
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
