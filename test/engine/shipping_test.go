package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"devlog/test/host"
)

// A shipping site is a host on which two containers log, a log shipper that
// follows their files, and a server to which it sends them.
type shippingSite struct {
	t       *testing.T
	h       *host.Host
	address string // of the server, of this test alone
	sent    []int  // how many messages each container has logged
	senders []net.Conn
	ends    []func() string // end the receivers
	agent   *shipper
	// mayLose is how many lines the shipper may have lost by now, and perKill by how many a kill
	// raises it.
	mayLose, perKill int
}

// newShippingSite starts the receivers of two containers, whose messages are
// JSON lines in /var/log/devlog/cN/messages.json.
func newShippingSite(t *testing.T) *shippingSite {
	t.Helper()
	host.Need(t, "root")
	host.NeedDaemons(t)
	if _, err := os.Stat(host.Unpacked("shipping")); err != nil {
		if os.Getenv("DEVLOG_TEST_REQUIRE") != "" {
			t.Fatalf("this test needs RELP and HTTP of the syslog daemons: %v; run test/deps.sh", err)
		}
		t.Skipf("this test needs RELP and HTTP of the syslog daemons: %v; run test/deps.sh", err)
	}
	pid := os.Getpid()
	s := &shippingSite{t: t, h: host.NewHost(t), sent: make([]int, 2), address: fmt.Sprintf("127.%d.%d.%d", 1+pid>>16&63, pid>>8&255, 1+pid&127)}
	for i := range s.sent {
		name := fmt.Sprintf("c%d", i+1)
		host.Check(t, os.MkdirAll(filepath.Dir(s.file(i)), 0o755))
		socket := "/run/" + name + ".sock"
		end := host.Background(t, s.h, "sh", "-c", `"$@" & read -r _; kill -INT $!; wait $!`, "sh", filepath.Join(host.BinDir, "devlogd"),
			"--name", name, "--line-host", name, "--listen", socket, "--sandbox", "off", "--rule", "*.* -/var/log/devlog/"+name+"/messages.json ;JSON")
		s.ends = append(s.ends, end)
		var conn net.Conn
		host.Eventually(t, name+" listens", func() (ok bool) {
			var err error
			conn, err = net.Dial("unixgram", s.h.Path(socket))
			return err == nil
		})
		t.Cleanup(func() { _ = conn.Close() })
		s.senders = append(s.senders, conn)
	}
	return s
}

func (s *shippingSite) file(i int) string {
	return s.h.Path(fmt.Sprintf("/var/log/devlog/c%d/messages.json", i+1))
}

// log makes each container log n messages, and waits until they are in its file.
func (s *shippingSite) log(n int) {
	s.t.Helper()
	for i, conn := range s.senders {
		for range n {
			_, err := fmt.Fprintf(conn, "<13>app: number %d \\ \"quoted\".", s.sent[i])
			host.Check(s.t, err)
			s.sent[i]++
		}
	}
	for i := range s.senders {
		host.Eventually(s.t, "the messages are in "+s.file(i), func() bool {
			files, err := filepath.Glob(s.file(i) + "*")
			host.Check(s.t, err)
			lines := 0
			for _, f := range files {
				text, err := os.ReadFile(f)
				host.Check(s.t, err)
				lines += strings.Count(string(text), "number ")
			}
			return lines == s.sent[i]
		})
	}
}

// rotate renames the files and makes new ones, as logrotate does with "create",
// and receivers whose rules say rotate=.
func (s *shippingSite) rotate() {
	s.t.Helper()
	for i := range s.sent {
		for n := 8; n >= 0; n-- {
			from := fmt.Sprintf("%s.%d", s.file(i), n-1)
			if n == 0 {
				from = s.file(i)
			}
			if err := os.Rename(from, fmt.Sprintf("%s.%d", s.file(i), n)); err != nil && !os.IsNotExist(err) {
				s.t.Fatal(err)
			}
		}
		host.Check(s.t, os.WriteFile(s.file(i), nil, 0o600))
	}
}

// arrived waits until the server has each logged line, except those that the shipper may lose. It
// returns how many it has more than once.
func (s *shippingSite) arrived(what string, stored func() string) (doubles int) {
	s.t.Helper()
	missing := 0
	host.Eventually(s.t, what+": all lines are at the server", func() bool {
		text := stored()
		complete := text[:strings.LastIndexByte(text, '\n')+1]
		got := map[string]int{}
		doubles = 0
		for line := range strings.Lines(complete) {
			var m struct{ Hostname, Msg string }
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				s.t.Fatalf("the server has %q: %v", line, err)
			}
			if !strings.HasPrefix(m.Msg, "number ") {
				continue // a message of the receiver's own
			}
			if got[m.Hostname+m.Msg]++; got[m.Hostname+m.Msg] > 1 {
				doubles++
			}
		}
		missing = 0
		for i, n := range s.sent {
			for k := range n {
				if got[fmt.Sprintf("c%d", i+1)+fmt.Sprintf("number %d \\ \"quoted\".", k)] == 0 {
					missing++
				}
			}
		}
		return missing <= s.mayLose
	})
	s.t.Logf("%s: %d and %d lines, %d doubles, %d lost", what, s.sent[0], s.sent[1], doubles, missing)
	return doubles
}

// printed returns the file that config prints on the host.
func (s *shippingSite) printed(kind string) string {
	s.t.Helper()
	s.h.Must(filepath.Join(host.BinDir, "devlog-hook"), "config", kind, "--server", s.address, "--dir", "/run/shipping")
	return "/run/shipping/devlog." + kind + ".conf"
}

// A shipper is a syslog daemon with its own directory.
type shipper struct {
	s     *shippingSite
	k     host.DaemonKind
	dir   string
	cmd   *exec.Cmd
	said  *os.File
	ended bool
}

// newShipper makes a daemon with that configuration in a directory of the host.
func (s *shippingSite) newShipper(k host.DaemonKind, dir, conf string) *shipper {
	s.t.Helper()
	host.Check(s.t, os.MkdirAll(s.h.Path(dir), 0o755))
	host.Check(s.t, os.WriteFile(s.h.Path(dir+"/conf"), []byte(conf), 0o600))
	d := &shipper{s: s, k: k, dir: dir, ended: true}
	s.t.Cleanup(func() {
		if !d.ended {
			d.end("KILL")
		}
		if text, err := os.ReadFile(s.h.Path(dir + "/said")); err == nil && s.t.Failed() {
			s.t.Logf("%s in %s says:\n%s", k, dir, text[max(0, len(text)-4000):])
		}
	})
	return d
}

func (d *shipper) start() {
	t, root := d.s.t, host.Unpacked("shipping")
	t.Helper()
	args := d.k.Command(host.DaemonsDir(), d.dir)
	for i, a := range args {
		libraries := "usr/lib/x86_64-linux-gnu"
		switch {
		case strings.HasPrefix(a, "LD_LIBRARY_PATH="):
			args[i] += ":" + filepath.Join(root, libraries)
		case strings.HasPrefix(a, "--module-path="):
			args[i] += ":" + host.SyslogNGModules(root)
		case a == "-M":
			args[i+1] += ":" + filepath.Join(root, libraries, "rsyslog")
		}
	}
	_ = os.Remove(d.s.h.Path(d.dir + "/pid"))            // of a killed one
	d.cmd = d.s.h.Command(context.Background(), args...) // it is ended after the test's context
	var err error
	d.said, err = os.OpenFile(d.s.h.Path(d.dir+"/said"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	host.Check(t, err)
	d.cmd.Stdout, d.cmd.Stderr = d.said, d.said
	host.Check(t, d.cmd.Start())
	d.ended = false
	host.Eventually(t, d.k.String()+" runs", func() bool { return d.pid() != "" })
}

func (d *shipper) pid() string {
	text, _ := os.ReadFile(d.s.h.Path(d.dir + "/pid")) // not there yet
	return strings.TrimSpace(string(text))
}

func (d *shipper) end(signal string) { endAll(signal, d) }

// endAll ends the daemons at the same time.
func endAll(signal string, daemons ...*shipper) {
	for _, d := range daemons {
		d.s.t.Helper()
		host.Check(d.s.t, d.s.h.Command(context.Background(), "kill", "-"+signal, d.pid()).Run())
	}
	for _, d := range daemons {
		_ = d.cmd.Wait() // by a signal
		_ = d.said.Close()
		d.ended = true
	}
}

// goesThrough makes everything go wrong for the shipper while containers log. down and up
// stop and start the server.
func (s *shippingSite) goesThrough(down, up func(), stored func() string, rotateWhileDead bool) {
	s.t.Helper()
	s.log(500)
	s.agent.start()
	if n := s.arrived("at first", stored); n > 0 {
		s.t.Errorf("without any failure %d lines arrived twice", n)
	}
	s.log(500)
	s.rotate()
	s.log(500)
	s.arrived("rotated", stored) // rsyslog reads again what it was about to send

	s.log(500)
	if s.perKill > 0 { // it loses lines of a file that it has just begun to read
		s.arrived("before the kill", stored)
	}
	s.agent.end("KILL")
	s.mayLose += s.perKill
	s.log(500)
	if rotateWhileDead {
		s.rotate()
		s.log(500)
	}
	s.agent.start()
	s.arrived("the shipper was killed", stored)

	down()
	s.log(500)
	if rotateWhileDead {
		s.rotate()
		s.log(500)
	}
	s.agent.end("KILL")
	s.mayLose += s.perKill
	s.log(500)
	s.agent.start()
	s.log(500)
	up()
	all := s.arrived("the server was down, and the shipper killed meanwhile", stored)

	s.agent.end("TERM")
	s.log(500)
	if rotateWhileDead {
		s.rotate()
	}
	s.agent.start()
	s.log(500)
	if n := s.arrived("the shipper was restarted", stored); n != all {
		s.t.Errorf("an orderly restart made %d doubles", n-all)
	}
}

// over ends the receivers.
func (s *shippingSite) over() {
	s.t.Helper()
	for _, end := range s.ends {
		end()
	}
}

// bothRestart ends the shipper and the server at the same time, again and again.
func (s *shippingSite) bothRestart(server *shipper, stored func() string) {
	s.t.Helper()
	before := s.arrived("before both are restarted", stored)
	for i, signal := range []string{"TERM", "KILL", "TERM", "TERM"} {
		endAll(signal, server, s.agent)
		if signal == "KILL" {
			s.mayLose += s.perKill
		}
		s.log(100)
		server.start()
		s.agent.start()
		s.log(100)
		if n := s.arrived(fmt.Sprintf("both were ended by %s, %d", signal, i), stored); n != before {
			s.t.Errorf("%s, while nothing was on its way, made %d doubles", signal, n-before)
		}
	}
	// Now while lines are on their way.
	const many = 20_000
	flows := func() {
		s.t.Helper()
		had := len(stored())
		s.log(many)
		host.Eventually(s.t, "lines arrive", func() bool { return len(stored()) > had+100_000 })
	}
	flows()
	endAll("KILL", server, s.agent)
	s.mayLose += s.perKill
	server.start()
	s.agent.start()
	s.arrived("both were killed while lines were on their way", stored)

	flows()
	endAll("TERM", server, s.agent)
	server.start()
	s.agent.start()
	last := len(s.sent) * s.sent[0]
	lost := 0
	host.Eventually(s.t, "all lines but a few are at the server", func() bool {
		got := map[string]bool{}
		for line := range strings.Lines(stored()) {
			if _, text, ok := strings.Cut(line, `"hostname":`); ok && strings.HasSuffix(text, "\n") && strings.Contains(text, `"number `) {
				got[text] = true
			}
		}
		lost = last - len(got)
		return lost <= s.mayLose+window+1
	})
	s.t.Logf("both were ended in order while lines were on their way: %d of %d lines were lost", lost, last)
}

// window is windowSize of the printed file.
const window = 16

// rsyslog, with the printed file, loses nothing on the way to another rsyslog.
func TestShippingRsyslog(t *testing.T) {
	s := newShippingSite(t)
	server := s.newShipper(host.DaemonKind{Program: "rsyslogd"}, "/run/server", `global(workDirectory="/run/server" maxMessageSize="512k")
module(load="imrelp")
template(name="line" type="string" string="%msg%\n")
input(type="imrelp" port="2514" address="`+s.address+`" maxDataSize="512k" ruleset="store")
ruleset(name="store" queue.type="Direct") {
  action(type="omfile" file="/run/server/out" template="line")
}
`)
	stored := func() string {
		text, err := os.ReadFile(s.h.Path("/run/server/out"))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return string(text)
	}
	s.agent = s.newShipper(host.DaemonKind{Program: "rsyslogd"}, "/run/agent", `global(workDirectory="/run/agent")
include(file="`+s.printed("rsyslog")+`")
`)
	server.start()
	// imfile knows a file of up to 512 bytes by its inode number only, and notes the line that
	// makes it longer before it sends that line (rsyslog 8.2302): these are four lines a container.
	s.perKill = 4 * len(s.sent)
	s.goesThrough(func() { server.end("TERM") }, server.start, stored, true)
	s.bothRestart(server, stored)
	s.agent.end("TERM")
	server.end("TERM")
	s.over()
}

// httpStore is a log store that takes lines by HTTP, as VictoriaLogs does.
type httpStore struct {
	t       *testing.T
	address string
	mu      sync.Mutex
	text    strings.Builder
	asked   int // under mu
	server  *http.Server
}

func (s *httpStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	switch {
	case err != nil: // the shipper was killed: it did not get its confirmation
	case r.URL.Path != "/insert/jsonline" || r.URL.Query().Get("_msg_field") != "msg":
		http.Error(w, "no such address", http.StatusNotFound)
	case s.asked%5 == 0: // the server fails now and then
		http.Error(w, "overloaded", http.StatusServiceUnavailable)
	default:
		s.text.Write(body)
	}
}

func (s *httpStore) stored() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *httpStore) up() {
	s.t.Helper()
	l, err := net.Listen("tcp", s.address)
	host.Check(s.t, err)
	s.server = &http.Server{Handler: s}
	go func(server *http.Server) { _ = server.Serve(l) }(s.server) // until it is closed
}

func (s *httpStore) down() {
	s.t.Helper()
	host.Check(s.t, s.server.Close())
}

// syslog-ng, with the printed file, loses nothing on the way to a log store,
// unless files are rotated while it does not run.
func TestShippingSyslogNG(t *testing.T) {
	s := newShippingSite(t)
	host.Overlay(s.h, "/var/lib")
	s.h.Must("mkdir", "-p", "/var/lib/syslog-ng")
	store := &httpStore{t: t, address: s.address + ":9428"}
	store.up()
	t.Cleanup(func() { _ = store.server.Close() })
	s.agent = s.newShipper(host.DaemonKind{Program: "syslog-ng"}, "/run/agent", "@version: 3.38\n@include \""+s.printed("syslog-ng")+"\"\n")
	s.goesThrough(store.down, store.up, store.stored, false)
	s.agent.end("TERM")
	s.over()
	if files, err := filepath.Glob(s.h.Path("/var/lib/syslog-ng") + "/*.rqf"); err != nil || len(files) != 1 {
		t.Errorf("the disk buffers are %q: %v", slices.Sorted(slices.Values(files)), err)
	}
}
