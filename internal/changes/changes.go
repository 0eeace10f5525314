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

// OfHost is the record of a repair of the host, if the directory has one.
func OfHost(d *rootfs.Dir) *Changes {
	if r := Read(d); r != nil && r.Host {
		return r
	}
	return nil
}

// Changes is what a repair notes beside the private socket before it changes
// anything, so that it can be undone, also after a crash. It lies in the
// container: what it says is never trusted with more than that container.
type Changes struct {
	// MountNS and PIDNS tell the container's namespaces from another's that
	// has the same root directory.
	MountNS uint64 `json:"mount_ns"`
	// Receiver is the receiver's process, in the PID namespace PIDNS, Started
	// the time of its start; see proc_pid_stat(5).
	Receiver int    `json:"receiver,omitempty"`
	PIDNS    uint64 `json:"pid_ns,omitempty"`
	Started  string `json:"started,omitempty"`
	// Unit is the service of systemd's that the receiver is, if it is one: then
	// other processes follow on Receiver.
	Unit string `json:"unit,omitempty"`
	// Was, WasLink and WasOwner are what /dev/log was before the first repair.
	Was      rootfs.Kind  `json:"was"`
	WasLink  string       `json:"was_link,omitempty"`
	WasOwner rootfs.Owner `json:"was_owner"`
	// Set is the text of the link that /dev/log was made, if it was.
	Set string `json:"set,omitempty"`
	// Renamed says that what was there was renamed, to asideName, and is the target's
	// to be given back. Where others share /dev they may rely on the link by then.
	Renamed bool `json:"renamed,omitempty"`
	// Mounted says that a link was mounted over /dev/log.
	Mounted bool `json:"mounted,omitempty"`
	// Pointed is the place that was made a link to the private socket; empty if
	// /dev/log leads to that itself.
	Pointed string `json:"pointed,omitempty"`
	// Made are the directories that were made, outermost first.
	Made []string `json:"made,omitempty"`
	// Socket is the private socket's path.
	Socket string `json:"socket"`
	// Host says that it is the host that was prepared.
	Host bool `json:"host,omitempty"`
}

// Read returns the record in the directory, or nil if there is none, or
// none that can be read: a repair does not depend on it. It is a link's text, or
// a regular file of an earlier version or where a link is too short.
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

// AddMade notes directories that were made.
func (r *Changes) AddMade(made []rootfs.Made) {
	for _, m := range made {
		r.Made = append(r.Made, path.Join(m.Parent.Path(), m.Name))
	}
	slices.Sort(r.Made) // outermost first
}

func (r *Changes) Write(d *rootfs.Dir) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("note what undo needs: %w", err)
	}
	return d.WriteNote(names.Record, data)
}

// maxLeftovers is how many names are looked at for leftovers; the container can make
// as many as it likes.
const maxLeftovers = 1024

// RemoveTemporary removes what a killed repair was about to make in the private
// socket's directory. Repairs of one container are never made at the same time.
func RemoveTemporary(d *rootfs.Dir) {
	names, err := d.Names(maxLeftovers)
	if err != nil {
		return // it may be entered and not read
	}
	for _, name := range names {
		if strings.HasPrefix(name, rootfs.TempPrefix) {
			_ = d.Unlink(name)
		}
	}
}
