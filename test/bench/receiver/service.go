package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/handover"
	"devlog/internal/nodecall"
)

// serviceName is the service of a host. crowdTool is a program for the same sockets that only receives
// and writes.
const (
	serviceName = ownName + " --node"
	crowdTool   = "crowd"
)

// service is one program for the sockets of many containers.
type service struct {
	name string
	// processes are its processes; the first ends the others. containers have the sockets and
	// logs.
	processes, containers []*receiver
}

// serviceLoad is a load through that many sockets, in turn. least and most are the aims for messages
// a second and for the processor time of a message, relative to the crowd's; 0 for none.
type serviceLoad struct {
	load
	sockets     int
	least, most float64
}

// serviceLoads returns the loads of a service with that many containers.
func serviceLoads(containers int) (list []serviceLoad) {
	for _, n := range slices.Compact([]int{1, min(8, containers), containers}) {
		l := serviceLoad{load{name: fmt.Sprintf("flood through %d sockets", n), senders: min(8, n), bytes: 120}, n, 0.85, 0}
		if l.messages = 400_000 / l.senders; n == 1 {
			l.name, l.least = "flood through 1 socket", 0.90
		}
		list = append(list, l)
	}
	return append(list, serviceLoad{load{name: "10/s each", senders: 1, messages: 50 * containers, rate: 10 * containers, bytes: 120}, containers, 0, 1.5})
}

// services measures a host's service with many containers: at rest, with a message to each in turn,
// with these while one is flooded, and with loads.
func (w *place) services(r *results) error {
	for _, start := range []func(dir string) (*service, error){w.startService, w.startCrowd} {
		dir := filepath.Join(workDir, "service")
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		err := w.serviceOf(r, dir, start)
		removeAll(dir)
		removeAll("/var/log/devlog")
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *place) serviceOf(r *results, dir string, start func(dir string) (*service, error)) error {
	s, err := start(dir)
	if s != nil {
		defer s.processes[0].stop()
	}
	if err != nil {
		return err
	}
	say("%d containers of %s", len(s.containers), s.name)
	sum, _, err := w.restOfAll(s.processes, w.idle)
	if err != nil {
		return err
	}
	sum[private] = sum[totalPrivate] / float64(len(s.containers))
	r.add(s.name, crowded, sum)
	for range w.reps {
		for _, flooded := range []bool{false, true} {
			if err := w.crowdOnce(r, peer{name: s.name}, dir, s.containers, flooded); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		for _, l := range serviceLoads(len(s.containers)) {
			if err := w.loadService(r, s, dir, l); err != nil {
				return fmt.Errorf("%s, %s: %w", s.name, l.name, err)
			}
		}
	}
	return nil
}

// loadService measures one load of a service once.
func (w *place) loadService(r *results, s *service, dir string, of serviceLoad) error {
	l := of.scaled(w.scale)
	var targets []string
	containers := s.containers[:of.sockets]
	for _, c := range containers {
		if err := os.Truncate(c.log, 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		targets = append(targets, c.socket)
	}
	before, err := s.cpu()
	if err != nil {
		return err
	}
	out := dir + "/took"
	text, err := run(filepath.Join(w.tools, loadTool), l.args(out, targets...)...)
	if err != nil {
		return err
	}
	var begin, end int64
	if _, err := fmt.Sscan(text, &begin, &end); err != nil {
		return fmt.Errorf("read what the senders say: %w", err)
	}
	total := l.senders * l.messages
	lines, changed, err := arrived(containers, total)
	if err != nil {
		return err
	}
	after, err := s.cpu()
	if err != nil {
		return err
	}
	took, err := readTimes(out)
	if err != nil {
		return err
	}
	slices.Sort(took)
	last := max(end, changed.UnixNano())
	r.add(s.name, l.name, map[string]float64{
		rate: float64(lines) / time.Duration(last-begin).Seconds(),
		cpu:  (after - before).Seconds() * 1e6 / float64(total),
		p99:  quantile(took, 0.99) / 1e3,
		lost: float64(total - lines),
	})
	return nil
}

// arrived waits until that many messages are in the logs, or no more arrive. It returns how many
// there are, and when a log last changed.
func arrived(all []*receiver, messages int) (lines int, changed time.Time, err error) {
	sizes, counts, grown := make([]int64, len(all)), make([]int, len(all)), time.Now()
	for lines < messages && time.Since(grown) < overdue {
		for i, c := range all {
			text, err := os.ReadFile(c.log)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return 0, changed, err
			}
			if int64(len(text)) == sizes[i] {
				continue
			}
			sizes[i], grown = int64(len(text)), time.Now()
			lines -= counts[i]
			counts[i] = bytes.Count(text, []byte("]: run "))
			lines += counts[i]
		}
	}
	for _, c := range all {
		if s, err := os.Stat(c.log); err == nil && s.ModTime().After(changed) {
			changed = s.ModTime()
		}
	}
	return lines, changed, nil
}

// cpu returns the sum of receiver.cpu of all processes.
func (s *service) cpu() (sum time.Duration, err error) {
	for _, p := range s.processes {
		d, err := p.cpu()
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

// startProgram starts a process of a service.
func startProgram(args ...string) (*receiver, error) {
	p := &receiver{cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // cmd.ProcessState has the result
		close(p.ended)
	}()
	return p, nil
}

// await waits until done, or until the process ends.
func (r *receiver) await(what string, done func() bool) error {
	for begin := time.Now(); !done(); time.Sleep(time.Millisecond) {
		select {
		case <-r.ended:
			return fmt.Errorf("%s ended: %s\n%s", r.cmd, r.cmd.ProcessState, &r.said)
		default:
		}
		if time.Since(begin) > patience {
			return fmt.Errorf("%s: not %s after %v", r.cmd, what, patience)
		}
	}
	return nil
}

// startCrowd starts the program that the service is compared with.
func (w *place) startCrowd(dir string) (*service, error) {
	s := &service{name: crowdTool}
	for i := range w.containers {
		c := &receiver{}
		c.socket, c.log = files(filepath.Join(dir, strconv.Itoa(i)))
		if err := os.Mkdir(filepath.Dir(c.log), 0o755); err != nil {
			return nil, err
		}
		s.containers = append(s.containers, c)
	}
	p, err := startProgram(filepath.Join(w.tools, crowdTool), dir, strconv.Itoa(w.containers))
	if err != nil {
		return nil, err
	}
	s.processes = append(s.processes, p)
	return s, p.await("listening", func() bool { return takes(s.containers[w.containers-1].socket) })
}

// startService starts a host's service, and hands the containers' sockets over as a hook does.
func (w *place) startService(dir string) (*service, error) {
	p, err := startProgram(w.devlogd, "--node")
	if err != nil {
		return nil, err
	}
	s := &service{name: serviceName, processes: []*receiver{p}}
	if err := p.await("listening", func() bool { _, err := os.Stat(nodecall.Socket); return err == nil }); err != nil {
		return s, err
	}
	for i := range w.containers {
		name := strconv.Itoa(i)
		c := &receiver{socket: filepath.Join(dir, name), log: "/var/log/devlog/" + name + "/log"}
		s.containers = append(s.containers, c)
		if err := c.handOver(name); err != nil {
			return s, fmt.Errorf("%w\n%s", err, &p.said)
		}
	}
	lists, err := filepath.Glob(p.proc("task/*/children"))
	var children []byte
	for _, list := range lists {
		text, _ := os.ReadFile(list) // a thread may have ended
		children = append(children, text...)
	}
	if err != nil || len(children) == 0 {
		return s, errors.Join(err, fmt.Errorf("%s has no process that reads", p.cmd))
	}
	for child := range strings.FieldsSeq(string(children)) {
		pid, err := strconv.Atoi(child)
		if err != nil {
			return s, err
		}
		process, err := os.FindProcess(pid)
		if err != nil {
			return s, err
		}
		reader := &receiver{cmd: &exec.Cmd{Path: w.devlogd, Process: process}}
		_ = os.WriteFile(reader.proc("autogroup"), []byte("-20"), 0) // it has its own session: see inside
		s.processes = append(s.processes, reader)
	}
	return s, nil
}

// handOver binds the socket and hands it over to the service.
func (r *receiver) handOver(name string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), r.socket)
	defer f.Close()
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: r.socket}); err != nil {
		return err
	}
	args := []string{"--name", name, "--rule", "*.* -" + r.log}
	_, err = nodecall.Call(nodecall.Request{Operation: nodecall.Add, Args: args}, handover.Passed{File: f, Name: handover.NameSocket})
	return err
}
