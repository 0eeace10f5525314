package receiver

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// forgetStart takes the pages of the program that only its start has needed off
// the process: those that it needs again come back one by one from the kernel's
// cache of the file. That is more than 1 MB of each receiver's resident memory.
func forgetStart() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil || !isUnlinked("/proc/self/exe") {
		return // it is only larger
	}
	for _, m := range imagePages(maps) {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED)
	}
}

// What elf(5) calls them: an executable with fixed addresses, and the program
// header that is there for a linker at run time.
const (
	etExec    = 2
	ptDynamic = 2
)

// isUnlinked reports whether the program's read-only pages are as they are in its
// file: a linker at run time would have written to some.
func isUnlinked(name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 4<<10) // Go's linker keeps all of it within that
	n, err := io.ReadFull(f, head)
	if err != nil && n == 0 {
		return false
	}
	return fixedImage(head[:n])
}

// fixedImage is isUnlinked for the first bytes of a file.
func fixedImage(head []byte) bool {
	const size = 64 // of Elf64_Ehdr; Elf32_Ehdr and one program header are longer too
	n := binary.NativeEndian
	if len(head) < size || n.Uint16(head[16:]) != etExec {
		return false
	}
	var at, each, count uint64
	switch string(head[:5]) {
	case "\x7fELF\x01": // of 32 bits
		at, each, count = uint64(n.Uint32(head[28:])), uint64(n.Uint16(head[42:])), uint64(n.Uint16(head[44:]))
	case "\x7fELF\x02":
		at, each, count = n.Uint64(head[32:]), uint64(n.Uint16(head[54:])), uint64(n.Uint16(head[56:]))
	default:
		return false
	}
	if each < 4 || at > uint64(len(head)) || at+each*count > uint64(len(head)) {
		return false
	}
	for i := range count {
		if n.Uint32(head[at+i*each:]) == ptDynamic {
			return false
		}
	}
	return true
}

// pages are a part of the address space.
type pages struct{ from, to uintptr }

// imagePages are the mappings that cannot be written to of the file that is the
// first in the text of /proc/PID/maps (proc_pid_maps(5)): the program's.
func imagePages(maps []byte) (list []pages) {
	var file []byte
	for line := range bytes.Lines(maps) {
		// address permissions offset device inode path
		field := bytes.Fields(line)
		if len(field) < 6 {
			continue
		}
		if file == nil {
			file = field[4]
		}
		if !bytes.Equal(field[4], file) || len(field[1]) != 4 || field[1][1] != '-' {
			continue
		}
		from, to, _ := bytes.Cut(field[0], []byte{'-'})
		begin, berr := strconv.ParseUint(string(from), 16, strconv.IntSize)
		end, eerr := strconv.ParseUint(string(to), 16, strconv.IntSize)
		if berr == nil && eerr == nil && begin < end {
			list = append(list, pages{uintptr(begin), uintptr(end)})
		}
	}
	return list
}
