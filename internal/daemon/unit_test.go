package daemon

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"devlog/internal/handover"

	"golang.org/x/sys/unix"
)

func TestUnitName(t *testing.T) {
	for _, tt := range []struct {
		container string
		n         int
		want      string
	}{
		{"c1", 1, "devlog-c1.service"},
		{"c1", 2, "devlog-c1-2.service"},
		{"a-b.c_d:e", 1, `devlog-a\x2db.c_d:e.service`},
		{".hidden", 1, `devlog-\x2ehidden.service`},
		{`$x\%"`, 1, `devlog-\x24x\x5c\x25\x22.service`},
	} {
		if got := UnitName(tt.container, tt.n); got != tt.want {
			t.Errorf("UnitName(%q, %d) = %s, want %s", tt.container, tt.n, got, tt.want)
		}
	}
	if got := UnitName(strings.Repeat("x", 500), 20); len(got) > 255 || !strings.HasSuffix(got, "-20.service") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

func TestRunArgs(t *testing.T) {
	s := Spec{Path: "/x/devlogd", Args: []string{"--rule", "*.* /$HOME", "--", "auto-repair"}, Env: []string{"TZ=UTC"}}
	args := s.runArgs("devlog-c1.service", "/run/files")
	i := slices.Index(args, "--")
	if want := []string{"--", "/x/devlogd", "--rule", "*.* /$$HOME", "--", "auto-repair"}; !slices.Equal(args[i:], want) {
		t.Errorf("%q, want %q", args[i:], want)
	}
	for _, want := range []string{"--setenv=TZ=UTC", "--setenv=DEVLOGD_FILES=/run/files", "--unit=devlog-c1.service", "--property=Restart=on-failure",
		"--property=DefaultDependencies=no", "--property=KillSignal=SIGINT", "--property=StandardError=journal"} {
		if !slices.Contains(args[:i], want) {
			t.Errorf("%q lacks %s", args, want)
		}
	}
}

// meetHere is meet in a directory of the test's.
func meetHere(t *testing.T) *meeting {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may make a directory in /run")
	}
	m, err := meet()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.close)
	return m
}

func TestFromHook(t *testing.T) {
	if files, ok, err := handover.FromHook(0); files != nil || ok || err != nil {
		t.Errorf("without a hook: %v, %t, %v", files, ok, err)
	}
	t.Setenv(handover.FilesVariable, "/nowhere")
	if _, ok, err := handover.FromHook(0); !ok || !errors.Is(err, unix.ENOENT) {
		t.Errorf("a hook that has gone: %t, %v", ok, err)
	}
	if _, ok := os.LookupEnv(handover.FilesVariable); ok {
		t.Error("the variable is left for children to find")
	}
	m := meetHere(t)
	if info, err := os.Stat(m.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others may enter %s: %v, %v", m.dir, info.Mode(), err)
	}
	done := make(chan error, 1)
	go func() {
		run, err := startProgramAt("/bin/sh", "sh", "-c", "sleep 100")
		if err != nil {
			done <- err
			return
		}
		defer run.close()
		conn, pid, err := m.accept(run, time.Now().Add(20*time.Second))
		if err == nil && pid != os.Getpid() {
			err = errors.New("another process")
		}
		if err == nil {
			err = errors.Join(handover.SendFiles(conn, []handover.Passed{{File: os.Stdin, Name: "a"}, {File: os.Stdin, Name: "b"}}), unix.Close(conn))
		}
		done <- err
	}()
	t.Setenv(handover.FilesVariable, m.path)
	files, ok, err := handover.FromHook(20 * time.Second)
	if !ok || err != nil || len(files) != 2 || files[1].Name != "b" {
		t.Errorf("%v, %t, %v", files, ok, err)
	}
	for _, f := range files {
		unix.Close(f.FD)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The program that starts the receiver fails, or the receiver never fetches its files.
func TestAcceptFails(t *testing.T) {
	m := meetHere(t)
	run, err := startProgramAt("/bin/sh", "sh", "-c", "echo it is so >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	defer run.close()
	if _, _, err := m.accept(run, time.Now().Add(20*time.Second)); err == nil {
		t.Error("accepted")
	}
	if ended, said := run.ended(); !ended || said != "sh: it is so" {
		t.Errorf("%t, %q", ended, said)
	}
	if err := run.wait(time.Now().Add(20 * time.Second)); err == nil || err.Error() != "sh: it is so" {
		t.Errorf("wait: %v", err)
	}
	hangs, err := startProgramAt("/bin/sh", "sh", "-c", "sleep 100")
	if err != nil {
		t.Fatal(err)
	}
	defer hangs.close()
	if _, _, err := m.accept(hangs, time.Now()); err == nil || !strings.Contains(err.Error(), "not ready") {
		t.Errorf("nobody comes: %v", err)
	}
	if err := hangs.wait(time.Now()); err == nil || !strings.Contains(err.Error(), "not ready") {
		t.Errorf("it hangs: %v", err)
	}
}

func TestLastSaid(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		"Starting x...\ndevlogd: old\nStarting x...\nx.service: Failed with result 'signal'.\n": "",
		"Starting x...\ndevlogd: one\ndevlogd: two\nx.service: Main process exited\n":           "two",
		"Starting x...\nStarted x.\nsomebody: else\n  devlogd: no rules\nFailed to start x.\n":  "no rules",
	} {
		if got := lastSaid(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	for _, unit := range []string{"devlog-*.service", "sshd.service", "devlog-x", "devlog-no-such-receiver.service"} {
		if got := SaidLast(unit); got != "" {
			t.Errorf("%s: %q", unit, got)
		}
	}
}

func TestCanSupervise(t *testing.T) {
	_, err := os.Lstat(booted)
	if got := CanSupervise(); err != nil && !errors.Is(got, ErrNoSystemd) {
		t.Errorf("without systemd: %v", got)
	}
	if _, err := findProgram("no such program"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("%v", err)
	}
}
