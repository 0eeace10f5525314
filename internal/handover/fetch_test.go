package handover

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// meeting returns a listening socket in a test directory, where a receiver fetches files.
func meeting(t *testing.T) (listener int) {
	t.Helper()
	before := fetchDir
	fetchDir = t.TempDir()
	t.Cleanup(func() { fetchDir = before })
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(fetchDir, FetchName(os.Getpid()))}), unix.Listen(fd, 1))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// A receiver fetches files, and its answer comes back.
func TestFetch(t *testing.T) {
	if _, answer, err := Fetch(1 << 30); answer >= 0 || err != nil {
		t.Errorf("without a hook: %d, %v", answer, err)
	}
	for _, want := range []error{nil, errors.New("it only watches")} {
		listener := meeting(t)
		served := make(chan error, 1)
		go func() {
			served <- Serve(listener, os.Getpid(), []Passed{{File: os.Stdin, Name: "unlink/x"}}, time.Now().Add(10*time.Second))
		}()
		files, answer, err := Fetch(os.Getpid())
		if err != nil || len(files) != 1 || files[0].Name != "unlink/x" {
			t.Fatalf("%+v, %v", files, err)
		}
		_ = unix.Close(files[0].FD)
		if err := Report(answer, want); err != nil {
			t.Error(err)
		}
		if got := <-served; (got == nil) != (want == nil) || got != nil && got.Error() != want.Error() {
			t.Errorf("answered %v, want %v", got, want)
		}
	}
}

// Another process gets no files, and a receiver that does not fetch them is not waited for.
func TestServeOthers(t *testing.T) {
	listener := meeting(t)
	served := make(chan error, 1)
	go func() { served <- Serve(listener, 1, nil, time.Now().Add(300*time.Millisecond)) }()
	if files, _, err := Fetch(os.Getpid()); err == nil {
		t.Errorf("another process gets %+v", files)
	}
	if err := <-served; err == nil {
		t.Error("it has served nobody, and says nothing")
	}
}
