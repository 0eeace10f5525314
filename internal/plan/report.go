package plan

import (
	"fmt"
	"io"
	"text/tabwriter"

	"golang.org/x/sys/unix"

	"devlog/internal/names"
	"devlog/internal/rootfs"
	"devlog/internal/syslog"
)

// Report writes what was found and what a repair would do. hook is why the last hook failed,
// or empty, and notes what else to say of the container. What a container can choose, such as a
// link's text, is escaped.
func Report(w io.Writer, f Facts, p Plan, hook, notes string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	rows := [][2]string{
		{"/dev", f.devInWords()},
		{"/dev/log", f.Log.inWords()},
		{"moved", f.Log.oldInWords()},
		{"syslog()", f.syslogInWords()},
		{"receiver", f.Receiver.inWords()},
		{"log", f.Receiver.LogTrouble},
	}
	for _, l := range f.Listen {
		rows = append(rows, [2]string{"listen", l.Path + ", " + l.inWords()})
	}
	rows = append(rows, [2]string{"hook", hook}, [2]string{"note", notes}, [2]string{"repair", p.inWords()}, [2]string{"hint", p.hint()})
	for _, row := range rows {
		if row[1] == "" {
			continue
		}
		fmt.Fprintf(t, "%s\t%s\n", row[0], syslog.Escape(row[1]))
	}
	return t.Flush()
}

// LogInWords describes /dev/log, escaped as in Report.
func (f Facts) LogInWords() string { return syslog.Escape(f.Log.inWords()) }

// ReceiverInWords describes the receiver, escaped as in Report; empty if there has been none.
func (f Facts) ReceiverInWords() string { return syslog.Escape(f.Receiver.inWords()) }

func (f Facts) devInWords() string {
	if f.Dev.Kind != rootfs.Directory {
		return "does not exist"
	}
	words := f.Dev.FSType
	if words == "" { // it is mounted in another mount namespace only
		words = "a file system that cannot be seen from here"
	}
	switch {
	case f.Host:
		words += ", the host's own"
	case f.Dev.Sharing == Private && f.Dev.FSType == "": // as of any container, from the host
		words = "private to this container"
	case f.Dev.Sharing == Shared:
		words += ", shared with the host"
	case f.Dev.Sharing == Private:
		words += ", private to this container"
	default:
		words += ", perhaps shared with the host: this cannot be told from inside"
	}
	if f.Dev.Unwritable != "" {
		words += "; it cannot be written: " + f.Dev.Unwritable
	}
	return words
}

// inWords describes the receiver; empty if there has never been one.
func (f ReceiverFacts) inWords() string {
	switch {
	case f.State == Elsewhere:
		return "cannot be seen from here: on the host, or in another PID namespace"
	case f.State == Gone && f.Unit != "":
		return fmt.Sprintf("has gone with %s: start it again with systemctl start devlogd, or repair", f.Unit)
	case f.State == Gone && f.PID == 0:
		return "has gone: it was killed and is not restarted; repair starts another"
	case f.State == Gone:
		return fmt.Sprintf("has gone: process %d was killed and is not restarted; repair starts another", f.PID)
	case f.State != Running:
		return ""
	}
	words := fmt.Sprintf("devlogd %d", f.PID)
	if f.Rights != nil {
		words += ", " + f.Rights.inWords()
	}
	if f.Unit != "" {
		return words + "; restarted by systemd if killed (" + f.Unit + ")"
	}
	return words + "; not restarted if killed"
}

func (l LogFacts) inWords() string {
	state := l.Target.inWords()
	switch l.Kind {
	case "", rootfs.Absent:
		return "does not exist"
	case rootfs.Link:
		words := "link to " + l.Link
		if l.Target.Path != l.Link {
			words += " (" + l.Target.Path + ")"
		}
		return words + ", " + state
	case rootfs.Socket:
		return "socket, " + state
	}
	return fmt.Sprintf("%s, not a socket", l.Kind)
}

// oldInWords describes a renamed /dev/log; empty for none.
func (l LogFacts) oldInWords() string {
	if l.Old == "" {
		return ""
	}
	return fmt.Sprintf("%s is a %s, which a repair renamed: check it, then remove it", names.OldPath, l.Old)
}

// inWords describes what is at the path, as the end of a sentence about it.
func (p PathFacts) inWords() string {
	switch {
	case p.Kind == rootfs.Absent && p.Problem != "" && p.Problem != unix.ENOENT.Error():
		return "which points nowhere"
	case p.Kind == rootfs.Absent:
		return "which does not exist here"
	case p.Kind != rootfs.Socket:
		return fmt.Sprintf("a %s, not a socket", p.Kind)
	case p.Live:
		return "where somebody listens"
	default:
		return "where nobody listens"
	}
}

func (f Facts) syslogInWords() string {
	switch dest := f.Log.Target; {
	case healthy(f) && dest.Problem == "" && dest.Closed != "":
		return "works for root only: other users may not enter " + dest.Closed
	case healthy(f) && dest.Problem == "":
		return "works"
	case dest.Problem != "":
		return "broken: " + dest.Problem
	case f.Dev.Kind != rootfs.Directory:
		return "broken: no such file or directory"
	case !f.trusted() && dest.Sharing == Private:
		return "reaches a path that another container may have chosen: the messages may land in another's log"
	case dest.Sharing == Unknown:
		return "reaches a listener that cannot be seen from this container: the messages may land in another's log"
	default:
		return "reaches somebody else: the messages land in another's log"
	}
}
