package main

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"golang.org/x/sys/unix"
)

//go:embed c
var sources embed.FS

// The tools, each from a file in c.
const (
	limitName   = "limit" // the receiver that only receives and writes
	loadTool    = "load"  // the senders
	startTool   = "start" // how long a start takes
	emptyTool   = "empty" // a Go program that does nothing
	emptySource = "package main\n\nfunc main() {}\n"
)

// build compiles the tools into a directory.
func build(dir string) error {
	for _, name := range []string{limitName, crowdTool, loadTool, startTool} {
		source, err := sources.ReadFile("c/" + name + ".c")
		if err != nil {
			return err
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file+".c", source, 0o644); err != nil {
			return err
		}
		if _, err := run("gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", file, file+".c"); err != nil {
			return err
		}
	}
	file := filepath.Join(dir, emptyTool)
	if err := os.WriteFile(file+".go", []byte(emptySource), 0o644); err != nil {
		return err
	}
	_, err := run("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, file+".go")
	return err
}

var allocations = regexp.MustCompile(`(?m)^BenchmarkReceive/.*\s(\d+) allocs/op$`)

// countAllocations returns how often receiving a batch of messages allocates, from the socket to the
// file, by a benchmark inside the program.
func countAllocations() (int, error) {
	out, err := run("go", "test", "-run", "^$", "-bench", "^BenchmarkReceive$/^batch=8$", "-benchmem", "-benchtime", "2000x", "devlog/internal/receiver")
	if err != nil {
		return 0, err
	}
	m := allocations.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("no allocations in what go test -bench says:\n%s", out)
	}
	return strconv.Atoi(m[1])
}

// makeHost makes the directories of a host in the namespaces.
func makeHost() error {
	type mount struct{ target, kind, data string }
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, m := range []mount{{"/proc", "proc", ""}, {"/dev", "tmpfs", "mode=755"}, {"/run", "tmpfs", "mode=755"}, {"/var/log", "tmpfs", "mode=755"}} {
		if err := unix.Mount(m.kind, m.target, m.kind, 0, m.data); err != nil {
			return fmt.Errorf("mount a %s at %s: %w", m.kind, m.target, err)
		}
	}
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "random": 8, "urandom": 9} {
		if err := unix.Mknod("/dev/"+name, unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))); err != nil {
			return fmt.Errorf("make /dev/%s: %w", name, err)
		}
	}
	return errors.Join(os.Mkdir("/dev/shm", 0o1777), os.Mkdir(workDir, 0o755)) // podman needs the former
}

// workDir is where everything is measured: a tmpfs, so that the disk does not matter.
const workDir = "/run/bench"
