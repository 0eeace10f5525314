package report

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"devlog/internal/containers"
	"devlog/internal/running"
	"devlog/internal/syslog"
)

// Served is a container that has a receiver. What is not known is nil or empty.
type Served struct {
	// Container is the name that people know, or else the receiver's for it; the ID if the
	// receiver runs in the container, whose root can have it say anything.
	Container *string `json:"container"`
	// ID is what the runtime calls it.
	ID     *string `json:"id"`
	Engine *string `json:"engine"`
	PID    int     `json:"pid"`
	Socket *string `json:"socket"`
	// Rules are the receiver's, and Config its file of rules.
	Rules  []string `json:"rules"`
	Config *string  `json:"config"`
	// Messages are those that it has read, and Lost those of them that it could write
	// nowhere.
	Messages *uint64    `json:"messages"`
	Lost     *uint64    `json:"lost"`
	Since    *time.Time `json:"since"`
	// Receiver is its process.
	Receiver int `json:"receiver"`
}

// ServedBy is the container that the receiver serves.
func ServedBy(r running.Receiver, c containers.Container) Served {
	said := r.Name
	if !r.OnHost {
		said = c.ID
	}
	s := Served{
		Container: known(cmp.Or(c.Called(), said)), ID: known(c.ID), Engine: known(c.Engine), PID: r.Container,
		Socket: known(r.Socket), Rules: r.Rules, Config: known(r.Config), Receiver: r.PID,
	}
	if r.Account != nil {
		s.Messages, s.Lost = &r.Account.Received, &r.Account.Lost
	} else if r.Metrics != "" {
		if a, ok := running.ReadAccount(r.Metrics); ok {
			s.Messages, s.Lost = &a.Received, &a.Lost
		}
	}
	if !r.Since.IsZero() {
		since := r.Since.Truncate(time.Second)
		s.Since = &since
	}
	return s
}

// known is nil for an empty text.
func known(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// CompareServed compares two containers by their names.
func CompareServed(a, b Served) int {
	return cmp.Or(cmp.Compare(shown(a.Container), shown(b.Container)), a.PID-b.PID)
}

// WriteServed writes the containers as a table. all says that other users' are among them.
func WriteServed(w io.Writer, list []Served, all bool) error {
	if len(list) == 0 {
		words := "No container on this host has a receiver."
		if !all {
			words = "None of your containers has a receiver."
		}
		_, err := fmt.Fprintln(w, words)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CONTAINER\tENGINE\tPID\tSOCKET\tRULES\tMESSAGES\tLOST\tSINCE")
	for _, s := range list {
		rules := strconv.Itoa(len(s.Rules))
		if s.Config != nil {
			rules = *s.Config
		} else if len(s.Rules) == 0 {
			rules = unknown
		}
		since := unknown
		if s.Since != nil {
			since = s.Since.Local().Format("2006-01-02 15:04")
		}
		name := shown(s.Container)
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", containers.Short(name), shown(s.Engine), s.PID, shown(s.Socket),
			syslog.Escape(rules), count(s.Messages), count(s.Lost), since)
	}
	return t.Flush()
}

// unknown stands in a table for what is not known.
const unknown = "-"

func shown(text *string) string {
	if text == nil {
		return unknown
	}
	return syslog.Escape(*text)
}

func count(n *uint64) string {
	if n == nil {
		return unknown
	}
	return strconv.FormatUint(*n, 10)
}
