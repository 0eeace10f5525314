package journal

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

const (
	// maxDatagram is how long a datagram may be, or a file in memory, which a client passes
	// instead if its socket's buffer is too small.
	maxDatagram = 1 << 20
	// usual is how much memory for datagrams is not worth freeing.
	usual = 64 << 10
	// seals are those without which the client could change the file while it is read.
	seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
)

// Source reads datagrams of entries from sockets. The caller must close it.
type Source struct {
	buffer []byte // of maxDatagram; nil until there is a datagram
	big    bool   // more than usual of it is used
}

// ErrWrong means that what a client sent is neither a datagram of entries nor a sealed file.
var ErrWrong = errors.New("not an entry")

// Receive reads one datagram without waiting, or the file that it passes. It is valid until the
// next call. from is who sent it; nil if the kernel does not say.
func (s *Source) Receive(fd int) (datagram []byte, from *unix.Ucred, err error) {
	if s.buffer == nil {
		flags := unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE
		if s.buffer, err = unix.Mmap(-1, 0, maxDatagram, unix.PROT_READ|unix.PROT_WRITE, flags); err != nil {
			return nil, from, err
		}
	}
	control := make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4)) // the sender, and one file
	n, m, flags, err := receive(fd, s.buffer, control)
	if err != nil {
		return nil, from, err
	}
	s.big = s.big || n > usual
	from, files := parseControl(control[:m])
	defer func() {
		for _, fd := range files {
			file.CloseNow(fd)
		}
	}()
	switch {
	case flags&unix.MSG_TRUNC != 0, flags&unix.MSG_CTRUNC != 0, len(files) > 1, len(files) == 1 && n > 0:
		return nil, from, ErrWrong
	case len(files) == 1:
		n, err = readSealed(files[0], s.buffer)
		s.big = s.big || n > usual
	}
	return s.buffer[:n], from, err
}

// receive is a raw recvmsg(2), without waiting: the kernel closes files for which there is no
// room, see file.CloseNow.
func receive(fd int, buffer, control []byte) (n, m, flags int, err error) {
	iov := unix.Iovec{Base: &buffer[0]}
	iov.SetLen(len(buffer))
	h := unix.Msghdr{Iov: &iov, Control: &control[0]}
	h.SetIovlen(1)
	h.SetControllen(len(control))
	r, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&h)), unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if errno != 0 {
		return 0, 0, 0, errno
	}
	return int(r), int(h.Controllen), int(h.Flags), nil
}

// parseControl returns the sender of a datagram, and the files that it passes.
func parseControl(control []byte) (from *unix.Ucred, files []int) {
	list, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return from, nil
	}
	for _, c := range list {
		if cred, err := unix.ParseUnixCredentials(&c); err == nil {
			from = cred
		} else if fds, err := unix.ParseUnixRights(&c); err == nil {
			files = append(files, fds...)
		}
	}
	return from, files
}

// readSealed reads a file in memory that its client cannot change any more, and returns how
// long it is. It is not mapped: another kind of file would not do.
func readSealed(fd int, buffer []byte) (n int, err error) {
	got, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || got&seals != seals {
		return 0, ErrWrong
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Size > int64(len(buffer)) {
		return 0, ErrWrong
	}
	for n < int(st.Size) {
		more, err := unix.Pread(fd, buffer[n:st.Size], int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || more == 0:
			return 0, ErrWrong
		}
		n += max(more, 0)
	}
	return n, nil
}

// Rest frees memory that large datagrams needed.
func (s *Source) Rest() {
	if s.big {
		_ = unix.Madvise(s.buffer, unix.MADV_DONTNEED)
		s.big = false
	}
}

// Close frees all memory.
func (s *Source) Close() {
	if s.buffer != nil {
		_ = unix.Munmap(s.buffer)
		s.buffer = nil
	}
}
