// Package report owns what check, list and their kind print: tables for people and JSON for
// programs. What a container can choose, such as its name, is escaped.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"devlog/internal/failure"
	"devlog/internal/hosts"
	"devlog/internal/plan"
	"devlog/internal/repair"
	"devlog/internal/rootfs"
	"devlog/internal/syslog"
)

// result is the JSON of a repair.Result.
type result struct {
	Facts plan.Facts `json:"facts"`
	Plan  plan.Plan  `json:"plan"`
	// Hook is why the last hook could not repair, until a repair works.
	Hook *failure.Failure `json:"hook,omitempty"`
	// Ignored is what to say of annotations that this version does not know.
	Ignored []string `json:"ignored,omitempty"`
}

// Check writes the result of a check.
func Check(w io.Writer, r repair.Result, asJSON bool) error {
	if asJSON {
		return JSON(w, result{r.Facts, r.Plan, r.Hook, r.Ignored})
	}
	return InColors(w, func(w io.Writer) error {
		return plan.Report(w, r.Facts, r.Plan, r.Hook.String(), strings.Join(r.Ignored, "; "))
	})
}

// HostJSON writes the result of a check of the host and its containers as JSON.
func HostJSON(w io.Writer, r repair.Result, list []hosts.Sharer) error {
	return JSON(w, struct {
		Host       result         `json:"host"`
		Containers []hosts.Sharer `json:"containers"`
	}{result{r.Facts, r.Plan, r.Hook, r.Ignored}, append([]hosts.Sharer{}, list...)}) // an empty list, not null
}

// CheckHost writes the result of a check of the host, and of the containers that share its
// /dev.
func CheckHost(w io.Writer, r repair.Result, list []hosts.Sharer) error {
	if err := checkHostAlone(w, r); err != nil {
		return err
	}
	return sharers(w, list)
}

func checkHostAlone(w io.Writer, r repair.Result) error {
	err := Check(w, r, false)
	if log := r.Facts.Log; err == nil && log.Kind == rootfs.Link && log.Target.Kind == rootfs.Absent {
		_, err = fmt.Fprintln(w, danglingNote)
	}
	return err
}

// danglingNote warns of another effect of a link to nothing: engines look through the link
// for a file that a container mounts, do not find it, and try to make a directory there.
const danglingNote = "note      a pod or container that mounts this /dev/log by itself does not start (mkdir /dev/log: file exists): have it mount /dev alone"

// JSON writes the value as JSON. The encoder leaves some characters that control a terminal;
// JSON writes them as escapes.
func JSON(w io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	var out strings.Builder
	for _, r := range string(text) {
		if s := string(r); r == '\n' || syslog.Escape(s) == s {
			out.WriteRune(r)
		} else {
			fmt.Fprintf(&out, `\u%04x`, r) // characters that control a terminal have four digits
		}
	}
	_, err = fmt.Fprintln(w, out.String())
	return err
}

// sharers writes a table of the containers that share the host's /dev.
func sharers(w io.Writer, list []hosts.Sharer) error {
	if len(list) == 0 && os.Geteuid() != 0 {
		_, err := fmt.Fprintln(w, "\nOnly root sees which containers share this /dev.")
		return err
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "\nNo container shares this /dev.")
		return err
	}
	fmt.Fprintln(w, "\nContainers that share this /dev:")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PID\tCOMMAND\tCONTAINER\tRECEIVER\t/dev/log\tREPAIR")
	for _, s := range list {
		log, repair := s.Facts.LogInWords(), s.Plan.String()
		if s.Problem != "" {
			log, repair = "?", "failed: "+s.Problem
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\n", s.PID, syslog.Escape(s.Command), syslog.Escape(s.Shown()), receiver(s), log, syslog.Escape(repair))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, s := range list {
		if s.Hook != nil {
			fmt.Fprintf(w, "container %s (process %d): hook %s\n", syslog.Escape(s.Shown()), s.PID, syslog.Escape(s.Hook.String()))
		}
	}
	return nil
}
