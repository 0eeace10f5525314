// Package changes owns the record of what a repair has changed in a container. It
// lies beside the private socket, so that the repair can be undone, also after a
// crash.
package changes

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"devlog/internal/names"
	"devlog/internal/rootfs"
)

// OfHost returns the directory's record if it is of a prepared host; nil otherwise.
func OfHost(d *rootfs.Dir) *Changes {
	if r := Read(d); r != nil && r.Host {
		return r
	}
	return nil
}

// Changes are what a repair records before it changes anything. The container can forge
// the record, so it is never trusted beyond that container.
type Changes struct {
	// MountNS and PIDNS tell the container from another one with the same root directory.
	MountNS uint64 `json:"mount_ns"`
	// Receiver is the receiver's process ID in the PID namespace PIDNS. Started is its
	// start time (pidfd.StartTime).
	Receiver int    `json:"receiver,omitempty"`
	PIDNS    uint64 `json:"pid_ns,omitempty"`
	Started  string `json:"started,omitempty"`
	// Unit is the receiver's systemd service, if it has one. systemd can replace the
	// process Receiver by others.
	Unit string `json:"unit,omitempty"`
	// Starting is the PID namespace of a repair that is about to start a receiver; 0 once
	// Receiver is that receiver, and the only one. If the repair is killed, it stays.
	Starting uint64 `json:"starting,omitempty"`
	Before
	// Set is the text of the link that a repair made at /dev/log, if it made one.
	Set string `json:"set,omitempty"`
	// Renamed says that a repair renamed /dev/log to names.Old and that undo renames it
	// back. It is not set where containers share /dev: others may rely on the link by then.
	Renamed bool `json:"renamed,omitempty"`
	// Mounted says that a link was mounted over /dev/log.
	Mounted bool `json:"mounted,omitempty"`
	// Pointed is the path at which a repair made a link to the private socket; empty if
	// /dev/log points to the socket itself.
	Pointed string `json:"pointed,omitempty"`
	// Made are the directories that were created, outermost first.
	Made []string `json:"made,omitempty"`
	// Socket is the private socket's path.
	Socket string `json:"socket"`
	// Host says that this is a prepared host.
	Host bool `json:"host,omitempty"`
	// Listen are the further sockets of the receiver.
	Listen []Further `json:"listen,omitempty"`
}

// Before is /dev/log before the first repair.
type Before struct {
	Was      rootfs.Kind  `json:"was"`
	WasLink  string       `json:"was_link,omitempty"`
	WasOwner rootfs.Owner `json:"was_owner"`
}

const (
	// MaxFurther is how many further sockets can be asked for by their paths.
	MaxFurther = 16
	// MaxListen is how many further sockets a receiver can have, with the journal's two.
	MaxListen = MaxFurther + 2
)

// Further is a further socket of a receiver, beside the private one.
type Further struct {
	Path string `json:"path"`
	// ID is the file's identity; zero before the socket is made. The container can forge it.
	ID rootfs.ID `json:"id"`
	// Made is how many directories were created for it: the last ones on its path.
	Made int `json:"made,omitempty"`
}

// Find returns what is recorded of the further socket at that path; only the path if nothing
// is.
func (r *Changes) Find(path string) Further {
	for _, s := range r.Listen {
		if s.Path == path {
			return s
		}
	}
	return Further{Path: path}
}

// SetListen records that the further socket was made.
func (r *Changes) SetListen(s Further) {
	for i, o := range r.Listen {
		if o.Path == s.Path {
			s.Made = max(s.Made, o.Made)
			r.Listen[i] = s
		}
	}
}

// Read returns the record in the directory; nil if it is missing or cannot be read: a
// repair does not depend on it.
func Read(d *rootfs.Dir) *Changes {
	data, err := d.ReadNote(names.Record)
	if err != nil {
		return nil
	}
	var r Changes
	if json.Unmarshal(data, &r) != nil {
		return nil
	}
	return &r
}

// AddMade adds created directories.
func (r *Changes) AddMade(made []rootfs.Made) {
	for _, m := range made {
		r.Made = append(r.Made, path.Join(m.Parent.Path(), m.Name))
	}
	slices.Sort(r.Made) // outermost first
}

// Write replaces the record in the directory.
func (r *Changes) Write(d *rootfs.Dir) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("cannot record what undo needs: %w", err)
	}
	return d.WriteNote(names.Record, data)
}

// maxLeftovers is how many names are searched for leftovers: a container can create any
// number of names.
const maxLeftovers = 1024

// RemoveTemporary removes temporary files that a killed repair left in the private
// socket's directory. The caller must hold the target's lock.
func RemoveTemporary(d *rootfs.Dir) {
	list, err := d.Names(maxLeftovers)
	if err != nil {
		return // it can be entered but not read
	}
	for _, name := range list {
		if strings.HasPrefix(name, names.TempPrefix) {
			_ = d.Unlink(name)
		}
	}
}
