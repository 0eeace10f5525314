// Package metrics owns the file of metrics: written in Prometheus' text format, and
// replaced in one step. The collector "textfile" of its node_exporter reads it.
//
// The client library of Prometheus would cost each receiver several times the memory
// that it has.
package metrics

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/watchdog"
)

// File is a file of metrics.
type File struct {
	Path  string
	text  []byte
	hangs <-chan error // the result of a write that did not return in time, or nil
}

var errHangs = errors.New("file system does not answer")

// Buffer returns memory for the text of the next Write.
func (f *File) Buffer() []byte { return f.text[:0] }

// Write writes the file, in another goroutine: a file system that hangs holds the caller
// up for watchdog.Patience at most.
func (f *File) Write(text []byte) error {
	f.text = text
	if f.hangs != nil && len(f.hangs) == 0 {
		return errHangs
	}
	f.hangs = nil
	result := make(chan error, 1)
	go func() { result <- replace(f.Path, text) }()
	timer := time.NewTimer(watchdog.Patience)
	defer timer.Stop()
	select {
	case err := <-result:
		return err
	case <-timer.C:
		f.hangs, f.text = result, nil
		return errHangs
	}
}

// replace writes a file: readers see the old one or the new one.
func replace(path string, text []byte) error {
	tmp := path + ".tmp" // the collector reads names that end in ".prom"
	err := unix.Unlink(tmp)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot remove %s: %w", tmp, err)
	}
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	f, err := os.OpenFile(tmp, flags, 0o644)
	if errors.Is(err, unix.ENOENT) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		f, err = os.OpenFile(tmp, flags, 0o644)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp) // the error says enough
	}
	return err
}

// Text is metrics in the text format, each with the program's name before its own.
type Text struct {
	bytes  []byte
	prefix string
	name   string
}

// Label is the name and the value of a label.
type Label [2]string

// NewText returns a text that is appended to dst: metrics of the program, each with the
// label "name".
func NewText(dst []byte, program, name string) *Text {
	return &Text{bytes: dst, prefix: program + "_", name: name}
}

// Bytes returns the text.
func (t *Text) Bytes() []byte { return t.bytes }

// Head begins a metric.
func (t *Text) Head(name, kind, help string) {
	name = t.prefix + name
	t.bytes = append(t.bytes, "# HELP "+name+" "+help+"\n# TYPE "+name+" "+kind+"\n"...)
}

func (t *Text) labels(name string, labels []Label) {
	t.bytes = append(t.bytes, t.prefix+name+`{name="`+escape(t.name)...)
	for _, l := range labels {
		t.bytes = append(t.bytes, `",`+l[0]+`="`+escape(l[1])...)
	}
	t.bytes = append(t.bytes, `"} `...)
}

// Sample adds a value of a metric.
func (t *Text) Sample(name string, value uint64, labels ...Label) {
	t.labels(name, labels)
	t.bytes = append(strconv.AppendUint(t.bytes, value, 10), '\n')
}

// Time adds a time as a value, in seconds since the epoch.
func (t *Text) Time(name string, at time.Time) {
	t.labels(name, nil)
	t.bytes = append(strconv.AppendFloat(t.bytes, float64(at.UnixMilli())/1000, 'f', 3, 64), '\n')
}

// One adds a metric that has one value.
func (t *Text) One(name, kind, help string, value uint64) {
	t.Head(name, kind, help)
	t.Sample(name, value)
}

// escape returns a label's value in the text format.
func escape(value string) string {
	return escaper.Replace(strings.ToValidUTF8(value, "\ufffd"))
}

var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
