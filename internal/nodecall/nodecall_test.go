package nodecall

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/file/filetest"
	"devlog/internal/handover"
	"devlog/internal/rights"
)

func pair(t testing.TB) (ours, theirs int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = unix.Close(fds[0]), unix.Close(fds[1]) })
	return fds[0], fds[1]
}

func memory(t testing.TB, text string) *os.File {
	t.Helper()
	f, err := handover.StateFile([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestTake(t *testing.T) {
	ours, theirs := pair(t)
	if _, _, err := Take[Request](theirs); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("of nothing: %v", err)
	}
	file := memory(t, "x")
	sent := Request{Operation: Add, Args: []string{"--name", "a"}}
	if err := Send(ours, sent, []handover.Passed{{File: file, Name: "log"}}); err != nil {
		t.Fatal(err)
	}
	q, files, err := Take[Request](theirs)
	if err != nil || q.Operation != Add || len(q.Args) != 2 || len(files) != 1 || files[0].Name != "log" {
		t.Fatalf("%+v, %+v, %v", q, files, err)
	}
	_ = unix.Close(files[0].FD)
	changeable, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer changeable.Close()
	for name, bad := range map[string][]handover.Passed{
		"no memory":        {{File: file, Name: "log"}},
		"not JSON":         {{File: memory(t, "{"), Name: nameCall}, {File: file, Name: "log"}},
		"another type":     {{File: memory(t, `{"operation": 1}`), Name: nameCall}},
		"can be changed":   {{File: changeable, Name: nameCall}, {File: file, Name: "log"}},
		"a directory, not": {{File: os.Stdin, Name: nameCall}},
	} {
		if err := handover.SendFiles(ours, bad); err != nil {
			t.Fatal(err)
		}
		before := filetest.Open(t)
		if _, files, err := Take[Request](theirs); err == nil || files != nil || filetest.Open(t) != before {
			t.Errorf("%s: %v, %v, %d open files, then %d", name, files, err, before, filetest.Open(t))
		}
	}
	for _, text := range []string{"", "call", "a:b"} { // names without files
		if _, err := unix.Write(ours, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if q, _, err := Take[Request](theirs); text != "" && err == nil || q != nil && err == nil {
			t.Errorf("%q: %+v, %v", text, q, err)
		}
	}
	_ = unix.Shutdown(ours, unix.SHUT_WR)
	if q, _, err := Take[Request](theirs); q != nil || err != nil {
		t.Errorf("at the end: %+v, %v", q, err)
	}
}

func TestTakeOrder(t *testing.T) {
	ours, theirs := pair(t)
	file := handover.Passed{File: memory(t, "x"), Name: "log"}
	for _, files := range [][]handover.Passed{nil, {file, file}} {
		if err := SendOrder(ours, Order{Operation: Say, Number: 7, Text: "x"}, files); err != nil {
			t.Fatal(err)
		}
		o, got, err := TakeOrder(theirs)
		if err != nil || o.Number != 7 || o.Text != "x" || len(got) != len(files) {
			t.Fatalf("%+v, %v, %v", o, got, err)
		}
		for _, f := range got {
			_ = unix.Close(f.FD)
		}
	}
	if err := SendOrder(ours, Order{Text: string(make([]byte, maxOrder))}, nil); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("too long: %v", err)
	}
	// Files that cannot be opened are an error of that order only.
	if err := SendOrder(ours, Order{Number: 8}, []handover.Passed{file}); err != nil {
		t.Fatal(err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	o, got, err := TakeOrder(theirs)
	if rerr := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); rerr != nil {
		t.Fatal(rerr)
	}
	if !errors.Is(err, rights.ErrMissing) || o == nil || o.Number != 8 || got != nil {
		t.Errorf("without descriptors: %+v, %v, %v", o, got, err)
	}
}

// Whatever an order is, it is taken or refused, and no file stays open.
func FuzzTakeOrder(f *testing.F) {
	for _, text := range []string{`{"operation":"add","number":1,"files":["log"]}`, `{`, `null`, `{"files":[1]}`, "x"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) == 0 || len(text) > maxOrder {
			return
		}
		ours, theirs := pair(t)
		before := filetest.Open(t)
		if err := unix.Sendmsg(ours, []byte(text), unix.UnixRights(0), nil, 0); err != nil {
			t.Skip(err)
		}
		o, files, err := TakeOrder(theirs)
		if o == nil || err == nil && len(files) != len(o.Files) || err != nil && files != nil {
			t.Fatalf("%+v, %v, %v", o, files, err)
		}
		for _, file := range files {
			_ = unix.Close(file.FD)
		}
		if after := filetest.Open(t); after != before {
			t.Errorf("%d open files, then %d", before, after)
		}
	})
}

// Whatever a call has in its memory, it is taken or refused, and no file stays open.
func FuzzTake(f *testing.F) {
	for _, text := range []string{`{"operation":"add","args":["--name","a"]}`, `{`, `null`, `[]`, `{"args":{}}`, ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ours, theirs := pair(t)
		before := filetest.Open(t)
		if err := handover.SendFiles(ours, []handover.Passed{{File: memory(t, text), Name: nameCall}, {File: os.Stdin, Name: "log"}}); err != nil {
			t.Fatal(err)
		}
		q, files, err := Take[Order](theirs)
		if err == nil && (q == nil || len(files) != 1) || err != nil && files != nil {
			t.Fatalf("%+v, %v, %v", q, files, err)
		}
		for _, file := range files {
			_ = unix.Close(file.FD)
		}
		if after := filetest.Open(t); after > before+1 { // the memory that was sent
			t.Errorf("%d open files, then %d", before, after)
		}
	})
}
