package receiver

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	native "devlog/internal/journal"
	"devlog/test/host"
)

// entryOf are the fields of an entry.
func entryOf(t *testing.T, data string) map[string]string {
	t.Helper()
	fields := map[string]string{}
	host.Check(t, native.Parse([]byte(data), func(name, value []byte) { fields[string(name)] = string(value) }, func() {}))
	return fields
}

// Messages reach the host's journald and syslog daemon with the container's identity, also after a
// restart of these.
func TestHostDaemonsAreTold(t *testing.T) {
	host.NeedContainers(t)
	const id = "cfc4fe27123e5a7f0c1d2e3f405162738495a6b7c8d9eafb0c1d2e3f40516273"
	h := host.NewHost(t)
	h.Must("mkdir", "-p", "/run/systemd/journal")
	journald, entries := host.Bind(t, h.Path("/run/systemd/journal/socket"))
	syslogd, datagrams := host.Bind(t, h.Path("/run/systemd/journal/dev-log"))
	const socket = "/run/test/log"
	r := host.RunCommand(t, h.Path(socket), h.Command(context.Background(), filepath.Join(host.BinDir, "devlogd"),
		"--listen", socket, "--name", id, "--line-host", "pod", "--container-name", "web", "--rule", "*.* journal", "--rule", "*.* syslog;RFC5424"))
	fd := r.Connect()
	for range 2 {
		host.Check(t, host.Send(fd, `<19>1 2026-11-27T19:42:57Z x app 7 ID [e@1 k="v"] hello`))
		got := entryOf(t, entries())
		for name, want := range map[string]string{
			"MESSAGE": "hello", "PRIORITY": "3", "SYSLOG_FACILITY": "2", "SYSLOG_IDENTIFIER": "app", "SYSLOG_PID": "7", "SD_E_1_K": "v",
			"CONTAINER_NAME": "web", "CONTAINER_TAG": "web", "CONTAINER_ID": id[:12], "CONTAINER_ID_FULL": id,
		} {
			if got[name] != want {
				t.Errorf("%s is %q, want %q, of %q", name, got[name], want, got)
			}
		}
		text := datagrams()
		if !strings.HasPrefix(text, "<19>1 ") || !strings.Contains(text, ` pod app 7 ID [container@32473 name="web" id="`+id+`"]`) || !strings.HasSuffix(text, `[e@1 k="v"] hello`) {
			t.Errorf("the syslog daemon is sent %q", text)
		}
		// The daemons are restarted.
		h.Must("rm", "/run/systemd/journal/socket", "/run/systemd/journal/dev-log")
		host.Check(t, unix.Shutdown(int(journald.Fd()), unix.SHUT_RD))
		host.Check(t, unix.Shutdown(int(syslogd.Fd()), unix.SHUT_RD))
		journald, entries = host.Bind(t, h.Path("/run/systemd/journal/socket"))
		syslogd, datagrams = host.Bind(t, h.Path("/run/systemd/journal/dev-log"))
	}
	h.Must("kill", "-INT", fmt.Sprint(h.Receivers()[0]))
	r.Wait()
}

// A syslog daemon reads the container's name as the host, not its ID.
func TestSyslogHost(t *testing.T) {
	host.NeedContainers(t)
	const id = "cfc4fe27123e5a7f0c1d2e3f405162738495a6b7c8d9eafb0c1d2e3f40516273"
	h := host.NewHost(t)
	h.Must("mkdir", "-p", "/run/systemd/journal")
	_, datagrams := host.Bind(t, h.Path("/run/systemd/journal/dev-log"))
	for i, c := range []struct {
		names []string
		host  string
	}{
		{[]string{"--container-name", "web"}, "web"},
		{[]string{"--container-name", "ns_pod_web", "--line-host", "pod"}, "pod"},
		{nil, id[:12]},
	} {
		for _, option := range []string{"", ";sender", ";RFC5424"} {
			socket := fmt.Sprintf("/run/test%d%s/log", i, option)
			log := fmt.Sprintf("/var/log/%d%s", i, option)
			args := append([]string{filepath.Join(host.BinDir, "devlogd"), "--listen", socket, "--name", id, "--rule", "*.* syslog" + option, "--rule", "*.* -" + log}, c.names...)
			r := host.RunCommand(t, h.Path(socket), h.Command(context.Background(), args...))
			host.Check(t, host.Send(r.Connect(), "<19>app[7]: hello"))
			text := datagrams()
			if !strings.HasPrefix(text, "<19>") || !strings.Contains(text, " "+c.host+" app") || strings.Contains(text, " "+id+" ") {
				t.Errorf("%q, %s: the syslog daemon is sent %q", c.names, option, text)
			}
			h.Must("kill", "-INT", fmt.Sprint(h.Receivers()[0]))
			r.Wait()
		}
	}
}

// On a prepared host the action syslog reaches the host's own daemon too, at its kept socket.
func TestSyslogPreparedHost(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	receive := host.ListenOn(t, h, "/dev/log")
	h.Must(host.HookOn(), "repair", "--host")
	const socket = "/run/test/log"
	r := host.RunCommand(t, h.Path(socket), h.Command(context.Background(), filepath.Join(host.BinDir, "devlogd"),
		"--listen", socket, "--name", "web", "--rule", "*.* syslog"))
	host.Check(t, host.Send(r.Connect(), "<19>app[7]: hello"))
	if text := receive(); !strings.HasPrefix(text, "<19>") || !strings.HasSuffix(text, " web app[7]: hello") {
		t.Errorf("the syslog daemon is sent %q", text)
	}
	h.Must("kill", "-INT", fmt.Sprint(h.Receivers()[0]))
	r.Wait()
}

// A receiver that journald forwards to does not send to the journal.
func TestNoLoop(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	for _, action := range []string{"journal", "syslog"} {
		r := h.Do(filepath.Join(host.BinDir, "devlogd"), "--listen", "/run/systemd/journal/syslog", "--rule", "*.* "+action)
		if r.Code != 2 || !strings.Contains(r.ErrOut, "journald forwards to /run/systemd/journal/syslog: a rule with the action "+action+" would send each message round") {
			t.Errorf("%s: %+v", action, r)
		}
	}
}
