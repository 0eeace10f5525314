package syslogconf

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"devlog/internal/syslog"
)

// Kind is the kind of a place.
type Kind uint8

// The kinds of places.
const (
	File            Kind = iota // a regular file, Path
	Kernel                      // the kernel's log, Path is KernelLog
	FIFO                        // a named pipe, Path
	Terminal                    // a console or another terminal, Path
	Stdout                      // the receiver's own standard output
	ContainerStdout             // the standard output of the container's first process
	Everybody                   // the users' terminals: accepted, but nothing is written there
	Journal                     // the host's journald, by its own protocol
	Syslog                      // the host's syslog daemon
)

// Rotation says when to start a new file and how many old files to keep.
type Rotation struct {
	Size  int64 // in bytes; 0 for never
	Count int   // old files to keep
	Gzip  bool  // compress old files
}

// Action says where messages go, and how they are written there.
type Action struct {
	Kind Kind
	// Path is the place; empty for an action that is a word.
	Path string
	// Sync says that messages must be on the disk before more are read.
	Sync     bool
	Format   syslog.Layout
	Rotation Rotation
	// Sender says that RFC3164 marks messages that name another process than their sender.
	Sender bool
}

// NeedsSender returns whether the action writes who sent a message.
func (a *Action) NeedsSender() bool {
	return a.Sender || a.Format != syslog.RFC3164 || a.Kind == Journal
}

// Place returns the place's name in messages. A place has only one name.
func (a *Action) Place() string {
	if word := words[a.Kind]; word != "" {
		return word
	}
	return filepath.Clean(a.Path)
}

// words are the actions that are a word.
var words = [...]string{
	Stdout: "stdout", ContainerStdout: "container-stdout", Everybody: "*", Journal: "journal", Syslog: "syslog",
}

// How many old files to keep by default (as sysklogd), and at most.
const defaultCount, maxCount = 5, 999

// startsAction returns whether an action, and not a selector, begins there.
func startsAction(text string) bool {
	word, _, _ := strings.Cut(text, " ")
	word, _, _ = strings.Cut(word, "\t")
	word, _, _ = strings.Cut(word, ";")
	return word != "" && (slices.Contains(words[:], word) || word == "stop" || word == "~" || strings.IndexByte("/-|@?^", word[0]) >= 0)
}

// setAction reads "ACTION [;OPTION,...]" from start.
func (r *Rule) setAction(text string, start int) error {
	if start >= len(text) {
		return errAt(len(text), "expected an action after the selector, such as /var/log/messages")
	}
	place, options := text[start:], ""
	end := len(text)
	if i := strings.IndexByte(place, ';'); i >= 0 {
		place, options, end = place[:i], place[i+1:], start+i+1
	}
	if err := r.setPlace(strings.TrimRight(place, blanks), start); err != nil {
		return err
	}
	if end < len(text) || strings.HasSuffix(text[start:], ";") {
		return r.setOptions(options, end)
	}
	return nil
}

func (r *Rule) setPlace(place string, start int) error {
	path := strings.TrimPrefix(place, "-")
	r.Sync = path == place
	at := start + len(place) - len(path)
	if why := notAction(path); why != "" && path != ":omusrmsg:*" {
		return errAt(start, "%s", why)
	}
	if path == ":omusrmsg:*" {
		path = words[Everybody]
	}
	if i := slices.Index(words[:], path); i >= 0 && path != "" {
		r.Kind, r.Sync = Kind(i), false
		return nil
	}
	switch {
	case strings.HasPrefix(path, "|"):
		r.Kind, r.Sync = FIFO, false
		path = strings.TrimLeft(path[1:], blanks)
		if !strings.HasPrefix(path, "/") {
			return errAt(at+1, "expected the absolute path of a FIFO after '|', found %q (programs are not supported)", path)
		}
	case strings.HasPrefix(path, "/"):
	default:
		return errAt(start, "action %q (users' terminals?) is not supported: %s", place, instead)
	}
	if strings.HasSuffix(path, "/") {
		return errAt(start, "%q is a directory: name a file in it", path)
	}
	r.Path = path
	if r.Kind != FIFO {
		r.setDevice()
	}
	return nil
}

// setDevice sets the kind of a path that is not a file's.
func (r *Rule) setDevice() {
	switch path := filepath.Clean(r.Path); {
	case path == KernelLog:
		r.Kind, r.Sync, r.Path = Kernel, false, path
	case path == "/dev/console" || strings.HasPrefix(path, "/dev/tty") || strings.HasPrefix(path, "/dev/pts/"):
		r.Kind, r.Sync = Terminal, false
	}
}

// action returns the action with its options, as it is written.
func (r *Rule) action() string {
	var b strings.Builder
	switch {
	case r.Kind == FIFO:
		b.WriteByte('|')
	case r.Kind == File && !r.Sync:
		b.WriteByte('-')
	}
	b.WriteString(words[r.Kind] + r.Path)
	separator := ";"
	option := func(given bool, text string) {
		if given {
			b.WriteString(separator + text)
			separator = ","
		}
	}
	rotate := ""
	if r.sizeGiven {
		rotate = strconv.FormatInt(r.Rotation.Size, 10)
	}
	if r.countGiven {
		rotate += ":" + strconv.Itoa(r.Rotation.Count)
	}
	option(r.Format != syslog.RFC3164, r.Format.String())
	option(rotate != "", "rotate="+rotate)
	option(r.Rotation.Gzip, "gzip")
	option(r.Sender, "sender")
	return b.String()
}
