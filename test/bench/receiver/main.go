// The program receiver is the project's benchmark of local syslog receivers: it
// runs devlogd beside other daemons and beside the limit, a program that only
// receives and writes, on a temporary /dev and /run, and compares them. `make
// bench` runs it; docs/performance.md describes what it measures.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// plan is what to measure, as the command line says.
type plan struct {
	devlogd   string // the program
	peers     []string
	reps      int
	scale     float64       // of the number of messages
	idle      time.Duration // how long idle receivers are watched
	settle    time.Duration // how long a receiver rests before it is examined
	receivers int           // how many run at once
	// containers is the number of containers of a host's service.
	containers int
}

// place is where the plan is carried out.
type place struct {
	tools string // directory of what build made
	peers []peer
	plan
}

func main() {
	var p plan
	var names, results, document, picture string
	render := false
	flag.StringVar(&p.devlogd, "devlogd", "bin/devlogd", "the receiver")
	flag.StringVar(&names, "peers", "", "names of the peers, the default is all that are here")
	flag.IntVar(&p.reps, "reps", 5, "how often to measure each")
	flag.Float64Var(&p.scale, "scale", 1, "times the usual number of messages")
	flag.DurationVar(&p.idle, "idle", time.Minute, "for how long to watch idle receivers")
	flag.DurationVar(&p.settle, "settle", 200*time.Millisecond, "how long to leave a receiver at rest before looking at it")
	flag.IntVar(&p.receivers, "receivers", 200, "how many receivers to run at once")
	flag.IntVar(&p.containers, "containers", 1000, "how many containers a host's service has")
	flag.StringVar(&results, "results", "", "file to write the results to")
	flag.StringVar(&document, "document", "", "Markdown file to put the tables into")
	flag.StringVar(&picture, "picture", "", "SVG file to draw")
	flag.BoolVar(&render, "render", false, "measure nothing: read the file of -results")
	flag.Parse()
	p.peers = strings.FieldsFunc(names, func(r rune) bool { return r == ',' })
	err := error(nil)
	switch {
	case flag.NArg() > 0 || p.reps < 1 || p.receivers < 2 || p.containers < 2 || p.scale <= 0:
		flag.Usage()
		os.Exit(2)
	case os.Getenv(insideEnv) != "":
		err = inside(&p)
	default:
		err = outside(&p, render, results, document, picture)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// outside is the part that runs on the machine itself.
func outside(p *plan, render bool, file, document, picture string) error {
	var r *results
	var err error
	if render {
		r, err = loadResults(file)
	} else {
		r, err = measure(p)
	}
	if err != nil {
		return err
	}
	fmt.Print(tables(r))
	if file != "" && !render {
		err = r.save(file)
	}
	if document != "" {
		err = errors.Join(err, replaceTables(document, tables(r)))
	}
	if picture != "" {
		err = errors.Join(err, os.WriteFile(picture, []byte(draw(r)), 0o644))
	}
	return errors.Join(err, r.failure())
}

// insideEnv names the directory of the tools. With it in the environment, the program is the part
// that measures.
const insideEnv = "DEVLOG_BENCH_TOOLS"

// measure builds the tools and measures in new namespaces: there the machine's /dev/log is not
// touched, a socket's queue has the kernel's default length, and all processes end with the
// namespace.
func measure(p *plan) (*results, error) {
	tools, err := os.MkdirTemp("", "devlog-bench-")
	if err != nil {
		return nil, err
	}
	defer removeAll(tools)
	if p.devlogd, err = filepath.Abs(p.devlogd); err != nil {
		return nil, err
	}
	if err := build(tools); err != nil {
		return nil, err
	}
	allocations, err := countAllocations()
	if err != nil {
		return nil, err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	// Other programs should disturb as little as possible.
	cmd := exec.CommandContext(ctx, "nice", append([]string{"-n", "-20", self}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), insideEnv+"="+tools)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true,
	}
	out, err := cmd.Output()
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("make namespaces, which only root may: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	r := new(results)
	if err := json.Unmarshal(out, r); err != nil {
		return nil, fmt.Errorf("read what was measured: %w", err)
	}
	r.Allocations = allocations
	return r, nil
}

// inside carries out the plan, and writes the results to standard output.
func inside(p *plan) error {
	if err := makeHost(); err != nil {
		return err
	}
	// Where sessions are scheduled as groups, nice(1) has no effect outside its session (sched(7),
	// The autogroup feature).
	_ = os.WriteFile("/proc/self/autogroup", []byte("-20"), 0)
	w := &place{tools: os.Getenv(insideEnv), plan: *p}
	all := append([]peer{w.limit(), w.own()}, others()...)
	for _, peer := range all {
		if len(p.peers) == 0 || slices.Contains(p.peers, peer.name) || peer.name == limitName || peer.name == ownName {
			w.peers = append(w.peers, peer)
		}
	}
	var files unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files)
	if files.Cur = files.Max; err == nil { // the senders to a service have a socket for each container
		err = unix.Setrlimit(unix.RLIMIT_NOFILE, &files)
	}
	if err != nil {
		return err
	}
	r := newResults(w)
	before, err := readProcessors()
	if err != nil {
		return err
	}
	for _, step := range []func(*results) error{w.loads, w.actions, w.drivers, w.starts, w.rests, w.many, w.services} {
		if err := step(r); err != nil {
			return err
		}
	}
	after, err := readProcessors()
	if err != nil {
		return err
	}
	r.OthersLoad = after.others(before)
	return json.NewEncoder(os.Stdout).Encode(r)
}

// say reports progress.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
}

// removeAll removes one of the benchmark's directories.
func removeAll(dir string) {
	if err := os.RemoveAll(dir); err != nil {
		say("%v", err)
	}
}

// run runs a command and returns what it writes.
func run(name string, args ...string) (string, error) {
	var problem bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, problem.Bytes())
	}
	return string(out), nil
}
