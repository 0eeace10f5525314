// Command bench measures what a hook costs a container's start: the wall time
// of "runc run" and "crun run" of a container that does nothing, with no hook,
// with a C program and a Go program that do nothing, and with devlog-hook, as it
// is and with parts of its work left out. They take turns, so that other load on
// the machine affects all of them alike.
//
//	bench [-n ROUNDS] BIN
//
// BIN is the directory of devlog-hook and devlogd. It needs root, gcc, Go and
// busybox, and runs on a temporary host made of namespaces.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// insideEnv says that this process is the first one of the temporary host.
const insideEnv = "DEVLOG_BENCH_INSIDE"

func main() {
	rounds := flag.Int("n", 100, "`ROUNDS` to measure")
	flag.Parse()
	if flag.NArg() != 1 || *rounds < 1 {
		fmt.Fprintln(os.Stderr, "usage: bench [-n ROUNDS] BIN")
		os.Exit(2)
	}
	err := outside()
	if os.Getenv(insideEnv) != "" {
		err = inside(flag.Arg(0), *rounds)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// outside runs this program again as the first process of a temporary host.
func outside() error {
	if os.Getenv(insideEnv) != "" {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// With priority over other programs.
	cmd := exec.Command("chrt", append([]string{"--rr", "10", self}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	return cmd.Run()
}

func inside(bin string, rounds int) error {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	if err := makeHost(); err != nil {
		return fmt.Errorf("make a host: %w", err)
	}
	const dir = "/run/bench"
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	nothing := dir + "/true"
	if out, err := exec.Command("gcc", "-O1", "-static", "-o", nothing, "test/bench/testdata/true.c").CombinedOutput(); err != nil {
		return fmt.Errorf("compile the C hook: %w\n%s", err, out)
	}
	empty := dir + "/empty"
	if err := os.WriteFile(empty+".go", []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		return err
	}
	if out, err := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", empty, empty+".go").CombinedOutput(); err != nil {
		return fmt.Errorf("compile the empty Go program: %w\n%s", err, out)
	}
	hook, own := bin+"/devlog-hook", "--receiver="+bin+"/devlogd"
	node := exec.Command(bin+"/devlogd", "--node")
	if err := node.Start(); err != nil {
		return err
	}
	defer func() {
		_ = node.Process.Kill()
		_ = node.Wait()
	}()
	for begin := time.Now(); !exists("/run/devlog/node"); time.Sleep(time.Millisecond) {
		if time.Since(begin) > 30*time.Second {
			return errors.New("devlogd --node does not listen")
		}
	}
	variants := []variant{
		{name: "no hook"},
		{name: "C true", hook: []string{nothing}},
		{name: "empty Go program", hook: []string{nothing, empty}},
		{name: "program start alone", hook: []string{nothing, hook, "--version"}},
		{name: "no receiver", hook: []string{hook, "oci", "--stage", "prestart", "--receiver", "none", "--no-auto-repair"}},
		{name: "no auto-repair", hook: []string{hook, "oci", "--stage", "prestart", own, "--no-auto-repair"}},
		{name: "devlog-hook", hook: []string{hook, "oci", "--stage", "prestart", own}},
		{name: "with the service", hook: []string{hook, "oci", "--stage", "prestart", "--receiver=node"}},
	}
	for i := range variants {
		variants[i].bundle = filepath.Join(dir, fmt.Sprint(i))
		if err := variants[i].write(); err != nil {
			return fmt.Errorf("make the container: %w", err)
		}
	}
	for _, runtime := range []string{"runc", "crun"} {
		if _, err := exec.LookPath(runtime); err != nil {
			fmt.Printf("%s is not here\n", runtime)
			continue
		}
		if err := measure(runtime, variants, rounds); err != nil {
			return err
		}
	}
	return nil
}

// makeHost makes the directories of the temporary host.
func makeHost() error {
	tmpfs := func(at string) error { return unix.Mount("tmpfs", at, "tmpfs", 0, "mode=755") }
	err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("proc", "/proc", "proc", 0, ""),
		tmpfs("/dev"), tmpfs("/run"), tmpfs("/var/log"), os.Mkdir("/dev/pts", 0o755), os.Mkdir("/dev/shm", 0o1777),
		os.Symlink("/proc/self/fd", "/dev/fd"))
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9, "kmsg": 11} {
		err = errors.Join(err, unix.Mknod("/dev/"+name, unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))))
	}
	// crun mistakes unified, the cgroup v2 beside v1, for the only hierarchy, and fails. A new group
	// of cpu accepts no real-time process.
	for _, name := range []string{"unified", "cpu", "cpu,cpuacct"} {
		_ = unix.Unmount("/sys/fs/cgroup/"+name, unix.MNT_DETACH)
	}
	return err
}

// variant is a container, and its measured times.
type variant struct {
	name   string
	hook   []string
	bundle string
	times  []time.Duration
}

// write makes the bundle. The container shares the host's /dev.
func (v *variant) write() error {
	bin := filepath.Join(v.bundle, "rootfs/bin")
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	err = errors.Join(os.MkdirAll(bin, 0o755), exec.Command("cp", busybox, bin).Run())
	for _, d := range []string{"dev", "proc", "run"} {
		err = errors.Join(err, os.Mkdir(filepath.Join(v.bundle, "rootfs", d), 0o755))
	}
	if err != nil {
		return err
	}
	type object = map[string]any
	namespaces := []object{{"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "ipc"}, {"type": "network"}}
	config := object{
		"ociVersion": "1.0.2",
		"process":    object{"args": []string{"/bin/busybox", "true"}, "cwd": "/", "env": []string{"PATH=/bin"}, "user": object{"uid": 0, "gid": 0}},
		"root":       object{"path": "rootfs"},
		"mounts": []object{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/dev", "type": "bind", "source": "/dev", "options": []string{"rbind", "rw"}},
			{"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": []string{"mode=755"}},
		},
		"linux": object{"namespaces": namespaces, "cgroupsPath": fmt.Sprintf("/devlog-bench-%d", time.Now().UnixNano())},
	}
	if v.hook != nil {
		config["hooks"] = object{"prestart": []object{{"path": v.hook[0], "args": v.hook, "env": []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}}}}
	}
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(v.bundle, "config.json"), text, 0o644)
}

// run starts the container, waits for its end and returns how long that took. Then it waits, untimed,
// for what the runtime left running.
func (v *variant) run(runtime string) (time.Duration, error) {
	args := []string{"--root", "/run/bench/state", "run", "--bundle", v.bundle, "bench"}
	if runtime == "crun" {
		args = append([]string{"--cgroup-manager=disabled"}, args...)
	}
	cmd := exec.Command(runtime, args...)
	out, err := os.CreateTemp("/run/bench", "out") // not a pipe: this would wait for every process that has it open
	if err != nil {
		return 0, err
	}
	defer out.Close()
	if err := os.Remove(out.Name()); err != nil { // the open file is enough
		return 0, err
	}
	cmd.Stdout, cmd.Stderr = out, out
	start := time.Now()
	err = cmd.Run()
	took := time.Since(start)
	for err == nil { // this process is the init, so orphans are its children
		var left bool
		if left, err = reapOrphans(); !left {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		said, _ := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", out.Fd()))
		return 0, fmt.Errorf("%s run with %s: %w\n%s", runtime, v.name, err, said)
	}
	return took, nil
}

// reapOrphans waits for children that have ended, and returns whether others than the service are
// left.
func reapOrphans() (left bool, err error) {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	var children []byte
	for _, list := range lists {
		text, _ := os.ReadFile(list) // a thread may have ended
		children = append(children, text...)
	}
	for child := range strings.FieldsSeq(string(children)) {
		command, _ := os.ReadFile("/proc/" + child + "/cmdline") // it may have ended
		if strings.HasSuffix(string(command), "\x00--node\x00") {
			continue
		}
		var pid, ended int
		if pid, err = strconv.Atoi(child); err != nil {
			return false, err
		}
		ended, err = unix.Wait4(pid, nil, unix.WNOHANG, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false, err
		}
		left = left || ended != pid
	}
	return left, err
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// warmUp is how many rounds are not counted.
const warmUp = 5

func measure(runtime string, variants []variant, rounds int) error {
	for i := range variants {
		variants[i].times = nil
	}
	for round := range warmUp + rounds {
		for i := range variants {
			// Each goes first equally often.
			v := &variants[(i+round)%len(variants)]
			took, err := v.run(runtime)
			if err != nil {
				return err
			}
			if round >= warmUp {
				v.times = append(v.times, took)
			}
		}
	}
	fmt.Printf("%s run, %d rounds%s\n", runtime, rounds, strings.Repeat(" ", 10)+"median   quartiles")
	for _, v := range variants {
		slices.Sort(v.times)
		at := func(quarter int) float64 { return ms(v.times[(len(v.times)-1)*quarter/4]) }
		fmt.Printf("  %-24s %7.2f ms   %.2f to %.2f\n", v.name, at(2), at(1), at(3))
	}
	median := func(v variant) float64 { return ms(v.times[(len(v.times)-1)/2]) }
	for _, v := range variants[len(variants)-2:] {
		over := median(v) - median(variants[1])
		fmt.Printf("  %-24s %7.2f ms   %.1f %% of the whole start\n", v.name+" over C", over, 100*over/median(v))
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
