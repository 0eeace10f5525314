package handover

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/earlysignal"
	"devlog/internal/file"
	"devlog/internal/memfd"
)

// NameCheck is a sealed file with the state of a running receiver, which passes it to a new
// program. That program only reports whether it could continue with the state.
const NameCheck = "check"

// maxState is the most that is read of a state, in bytes.
const maxState = 256 << 20

// StateFile returns a sealed file in memory with this content (memfd_create(2), F_ADD_SEALS of
// fcntl(2)).
func StateFile(content []byte) (*os.File, error) {
	const name = "devlogd-state"
	fd, err := memfd.Create(name, memfd.Data)
	if err != nil {
		return nil, fmt.Errorf("cannot make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(content); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot write the state into memory: %w", err)
	}
	if err := memfd.Seal(fd, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot seal the state: %w", err)
	}
	return f, nil
}

// ReadState returns the content of a StateFile. Any other file is an error.
func ReadState(fd int) ([]byte, error) {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err == nil && seals&unix.F_SEAL_WRITE == 0 {
		err = errors.New("it can be changed")
	}
	var st unix.Stat_t
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err == nil && st.Size > maxState {
		err = errors.New("it is too large")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the state in descriptor %d: %w", fd, err)
	}
	data := make([]byte, st.Size)
	for done := 0; done < len(data); {
		n, err := unix.Pread(fd, data[done:], int64(done))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return nil, fmt.Errorf("cannot read the state in descriptor %d: %w", fd, errors.Join(err, unix.ENODATA))
		}
		done += n
	}
	return data, nil
}

// Inherit returns what the program before this one passed with Exec; nil for nothing. It
// removes the variable from the environment.
func Inherit() (*Description, error) {
	text, found := os.LookupEnv(earlysignal.StateVariable)
	if !found {
		return nil, nil
	}
	if err := os.Unsetenv(earlysignal.StateVariable); err != nil {
		return nil, fmt.Errorf("cannot remove %s from the environment: %w", earlysignal.StateVariable, err)
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < FirstFD { // no program of ours set it
		return nil, fmt.Errorf("%s=%q: want a descriptor", earlysignal.StateVariable, text)
	}
	data, err := ReadState(fd)
	_ = unix.Close(fd)
	var d *Description
	if err == nil {
		d, err = Parse(data)
	}
	if err != nil {
		d = Undescribed(leftOpen(), err)
		d.Confinement = &Confinement{Mark: -1, Landlock: true} // the process is still confined
	}
	return d, nil
}

// Exec replaces this process's program by the one that image is a handle on (execve(2)). The
// new program gets the description, its open files, and standard input, output and error. last
// runs just before. Exec returns only if something fails. Then everything is as before, except
// for what last did.
func Exec(image int, args, env []string, d *Description, last func() error) error {
	state, err := StateFile(d.Format())
	if err != nil {
		return err
	}
	defer state.Close()
	return exec(image, args, env, state, d.Descriptors(), last)
}

func exec(image int, args, env []string, state *os.File, keep []int, last func() error) error {
	if err := file.CloseOnExec(); err != nil {
		return err
	}
	kept := append([]int{int(state.Fd())}, keep...)
	for i, fd := range kept {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return errors.Join(fmt.Errorf("cannot keep descriptor %d open: %w", fd, err), closeOnExec(kept[:i]))
		}
	}
	env = append(env[:len(env):len(env)], earlysignal.StateVariable+"="+strconv.Itoa(kept[0]))
	path := file.Path(image)
	err := last()
	if err == nil {
		err = unix.Exec(path, args, env)
	}
	return errors.Join(err, closeOnExec(kept))
}

func closeOnExec(list []int) (err error) {
	for _, fd := range list {
		_, e := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC)
		err = errors.Join(err, e)
	}
	return err
}
