package router

import (
	"bytes"
	"cmp"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/journal"
	"devlog/internal/names"
	"devlog/internal/output"
	"devlog/internal/relay"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// Container is how the host's daemons know the container.
type Container struct {
	Name string // as its engine shows it
	Tag  string // the receiver's name for it, which can be its ID
	Host []byte // the host in lines for a syslog daemon

	fields []byte // of journal entries; made when an output first needs them, like data
	data   []byte // structured data of RFC 5424
}

// idLength is the length of a container's ID. Docker and podman show its first shortID digits,
// and use them as the host name.
const idLength, shortID = 64, 12

// ShortID returns the short form of a container's ID; empty if the text is not an ID.
func ShortID(id string) string {
	if len(id) != idLength {
		return ""
	}
	return id[:shortID]
}

// NewContainer returns the container that the receiver calls tag, lines call host and its engine
// calls name; the latter two can be empty. In lines for a syslog daemon an ID is in its short
// form: daemons cut a longer one, or do not read it as a host.
func NewContainer(tag, host, name string) Container {
	c := Container{Name: cmp.Or(name, host, tag), Tag: tag}
	called := cmp.Or(host, c.Name)
	c.Host = []byte(cmp.Or(ShortID(called), called))
	return c
}

// identify makes fields and data. The journal's fields have the names that Docker's and
// podman's journald drivers use.
func (c *Container) identify() {
	if c.fields != nil {
		return
	}
	field := func(key, value string) { c.fields = journal.AppendField(c.fields, key, []byte(value)) }
	field("CONTAINER_NAME", c.Name)
	id, tag := "", c.Tag
	if short := ShortID(c.Tag); short != "" {
		id, tag = c.Tag, c.Name
		field("CONTAINER_ID", short)
		field("CONTAINER_ID_FULL", id)
	}
	field("CONTAINER_TAG", tag)
	c.data = syslog.ContainerData(c.Name, id)
}

// syslogSockets are the sockets where a host's syslog daemon may listen, best first:
// systemd's, a prepared host's, and the usual one.
var syslogSockets = []string{names.JournalSocket, names.Dev + "/" + names.HostSocket, names.LogPath}

// SyslogSocket returns the socket where the host's daemon listens.
func SyslogSocket() string {
	for _, path := range syslogSockets {
		var st unix.Stat_t
		if unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK {
			return path
		}
	}
	return syslogSockets[0]
}

// openRelay opens the output to a daemon of the host.
func (r *Router) openRelay(a syslogconf.Action) *relay.Relay {
	o := relay.Options{
		Name: a.Place(), Path: names.JournalEntries, Frame: asEntry, Wake: r.Wake, Problem: r.Report,
		Notice: func(text string) output.Message {
			var l lines // of its own: those of the current message are in use
			m := r.Own(syslog.Warning, text)
			l.now = time.Now()
			line, _ := l.format(&a, &r.Options, &m)
			return output.Message{Priority: m.Priority(), Line: line}
		},
	}
	if a.Kind == syslogconf.Syslog {
		o.Path, o.Frame = SyslogSocket(), asDatagram(a.Format)
	}
	return relay.New(o)
}

func asEntry(dst []byte, m output.Message) []byte { return append(dst, m.Line...) }

// asDatagram writes a line in the format of syslog daemons: after its priority, without the
// newline.
func asDatagram(format syslog.Layout) func([]byte, output.Message) []byte {
	begin := ">"
	if format == syslog.RFC5424 {
		begin = ">1 "
	}
	return func(dst []byte, m output.Message) []byte {
		dst = strconv.AppendUint(append(dst, '<'), uint64(m.Priority), 10)
		return append(append(dst, begin...), bytes.TrimSuffix(m.Line, []byte{'\n'})...)
	}
}

// forwardSocket is where journald forwards to a syslog daemon (ForwardToSyslog= in
// journald.conf(5)).
const forwardSocket = "/run/systemd/journal/syslog"

// CheckLoops returns an error if a rule sends messages back to their origin. The receiver listens
// on these sockets.
func (r *Router) CheckLoops(sockets []string) error {
	for _, kind := range []syslogconf.Kind{syslogconf.Journal, syslogconf.Syslog} {
		if !r.Has(kind) {
			continue
		}
		action := syslogconf.Action{Kind: kind}
		for _, path := range sockets {
			switch {
			case path == forwardSocket:
				return fmt.Errorf("journald forwards to %s: a rule with the action %s would send each message round; hint: leave the rule out", path, action.Place())
			case kind == syslogconf.Syslog && path == SyslogSocket():
				return fmt.Errorf("no other daemon listens on this host: the action %s would send each message back to %s; hint: leave the rule out", action.Place(), path)
			}
		}
	}
	return nil
}
