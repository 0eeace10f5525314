package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/notify"
	"devlog/internal/receiver"
	"devlog/internal/syslog"
)

// The service manager keeps the containers' open files (FileDescriptorStoreMax= of
// systemd.service(5)), so that a node that is killed or restarted finds them again: each file
// once, and for each container memory that describes it.

// The service manager passes all names as one variable, of 128 KiB at most (MAX_ARG_STRLEN of
// execve(2)). They are short, so that all files that it keeps fit in.
const (
	// prefix begins the name of a container's description. The container's number and the
	// description's follow.
	prefix = "c"
	// filePrefix begins the name of another file. A number with the base 36 follows.
	filePrefix = "f"
)

// description describes a container to the next node.
type description struct {
	Number   uint64    `json:"number"`
	Version  uint64    `json:"version"` // of this description
	Args     []string  `json:"args"`
	Since    time.Time `json:"since"`
	Files    []string  `json:"files"` // the service manager's names for the files
	Previous []string  `json:"previous"`
	// Receiver is a handover.Description. Its descriptors are indices of Files.
	Receiver json.RawMessage `json:"receiver"`
}

// saved is what the service manager has of a container.
type saved struct {
	outline receiver.Outline
	version uint64
	files   []string
}

// store is what the service manager has of all containers.
type store struct {
	names map[string]string // its names for files, by handover.StoredName
	files map[string]stored // by their names
	last  uint64            // the last number in a name
	guard *guard
	said  bool // an error was reported
}

// stored is a file that the service manager has.
type stored struct {
	id         string // by handover.StoredName; empty if that is not known
	containers int    // how many have the file
}

func newStore(g *guard) store {
	return store{names: map[string]string{}, files: map[string]stored{}, guard: g}
}

// tell passes the service manager a file to keep.
func (s *store) tell(name string, fd int) error {
	return s.guard.outside(func() error { return notify.Keep(name, fd) })
}

// untell has it close the files with that name.
func (s *store) untell(name string) error {
	return s.guard.outside(func() error { return notify.Unkeep(name) })
}

// keep gives the service manager a file, unless it has it, and returns its name for it.
func (s *store) keep(id string, fd int) (name string, err error) {
	if name = s.names[id]; name == "" {
		s.last++
		name = filePrefix + strconv.FormatUint(s.last, 36)
		s.names[id] = name
	}
	had := s.files[name].containers
	if s.files[name] = (stored{id, had + 1}); had == 0 {
		err = s.tell(name, fd)
	}
	return name, err
}

// restore continues with a file that the service manager has kept. A handle on a process that has
// ended cannot be told from others, and is not needed for long.
func (s *store) restore(f handover.File) {
	if n, err := strconv.ParseUint(strings.TrimPrefix(f.Name, filePrefix), 36, 64); err == nil {
		s.last = max(s.last, n)
	}
	if id, err := handover.StoredName(f.FD); err == nil && !strings.HasPrefix(id, "file-") {
		s.names[id], s.files[f.Name] = f.Name, stored{id: id}
	}
}

// save gives the service manager what has changed of the container. The descriptors of one that was
// closed may be others' files by now.
func (c *container) save() {
	if !notify.Managed() || c.starting || c.closed() || c.saved.outline.Is(c.receiver) {
		return
	}
	defer c.node.guard.enter(c.section())()
	if err := c.trySave(); err != nil && !c.node.store.said {
		c.node.store.said = true
		c.node.Log(syslog.Warning, "cannot save the state of a container, which a restart would lose: "+err.Error())
	}
}

func (c *container) trySave() error {
	d := c.receiver.Describe(time.Now())
	d.Connections, d.Kernel, d.Outputs = nil, nil, nil
	s := &c.node.store
	next := description{Number: c.number, Version: c.saved.version + 1, Args: c.args, Since: c.since, Previous: d.PreviousIDs}
	_, err := d.Store(func(id string, fd int) error {
		name, err := s.keep(id, fd)
		next.Files = append(next.Files, name)
		return err
	})
	if err == nil {
		next.Receiver = d.Format()
		err = c.keep(next)
	}
	if err != nil {
		return errors.Join(err, s.drop(next.Files))
	}
	err = c.unkeep()
	c.saved = saved{outline: c.receiver.Outline(), version: next.Version, files: next.Files}
	return err
}

// keep gives the service manager the description.
func (c *container) keep(d description) error {
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	memory, err := handover.StateFile(text)
	if err != nil {
		return err
	}
	defer memory.Close()
	return c.node.store.tell(c.nameOf(d.Version), int(memory.Fd()))
}

func (c *container) nameOf(version uint64) string {
	return prefix + strconv.FormatUint(c.number, 10) + "." + strconv.FormatUint(version, 10)
}

// unkeep takes the last description and its files from the service manager.
func (c *container) unkeep() error {
	if c.saved.version == 0 {
		return nil
	}
	return errors.Join(c.node.store.untell(c.nameOf(c.saved.version)), c.node.store.drop(c.saved.files))
}

// unsave takes the container from the service manager.
func (c *container) unsave() {
	_ = c.unkeep() // an error means that no service manager keeps it
}

// drop takes files from the service manager, unless another container has them too.
func (s *store) drop(names []string) (err error) {
	for _, name := range names {
		f := s.files[name]
		if f.containers--; f.containers > 0 {
			s.files[name] = f
			continue
		}
		delete(s.files, name)
		if s.names[f.id] == name {
			delete(s.names, f.id)
		}
		err = errors.Join(err, s.untell(name))
	}
	return err
}

// restore continues with the containers whose files the service manager has kept. It owns the
// files.
func (n *Node) restore(files []handover.File) {
	given := map[string]int{}
	newest := map[uint64]description{}
	for _, f := range files {
		if !strings.HasPrefix(f.Name, prefix) {
			given[f.Name] = f.FD
			leave := n.guard.enter(section{names: []string{f.Name}})
			n.store.restore(f)
			leave()
			continue
		}
		d, err := readDescription(f.FD)
		if err != nil {
			n.Log(syslog.Warning, "cannot read the state of a container, which is lost: "+err.Error())
		}
		if d.Version > newest[d.Number].Version {
			newest[d.Number] = d
		}
	}
	for _, d := range newest {
		if err := n.restoreOne(d, given); err != nil {
			n.Log(syslog.Err, fmt.Sprintf("cannot continue to receive for the container of %q: %v", d.Args, err))
		}
	}
	present := map[string]bool{} // names of descriptions
	for _, c := range n.containers {
		present[c.nameOf(c.saved.version)] = true
	}
	for _, f := range files { // the containers have duplicates of theirs
		_ = unix.Close(f.FD)
		if !present[f.Name] && n.store.files[f.Name].containers == 0 {
			_ = n.store.untell(f.Name) // of a version that was replaced
		}
	}
	if len(newest) > 0 {
		n.Log(syslog.Notice, "receiving again for "+strconv.Itoa(len(n.containers))+" containers")
	}
}

func readDescription(fd int) (d description, err error) {
	text, err := handover.ReadState(fd)
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	return d, err
}

// restoreOne continues with a container. given are the files by the service manager's names.
func (n *Node) restoreOne(from description, given map[string]int) error {
	c := &container{number: from.Number, args: from.Args, saved: saved{version: from.Version}}
	defer n.guard.enter(c.section())()
	d, err := handover.Parse(from.Receiver)
	if err != nil {
		return err
	}
	if err := d.Unstore(from.Files, given); err != nil {
		file.CloseAll(d.Descriptors())
		return err
	}
	d.Settle()
	d.PreviousIDs = from.Previous
	c, err = n.newContainer(from.Args, from.Number)
	if err != nil {
		file.CloseAll(d.Descriptors())
		return err
	}
	c.since = from.Since
	c.saved.version, c.saved.files = from.Version, from.Files
	for _, name := range from.Files {
		f := n.store.files[name]
		f.containers++
		n.store.files[name] = f
	}
	c.receiver.Resume(d, false)
	err = c.start(d)
	c.receiver.Resumed()
	c.receiver.ForgetPrevious()
	if err != nil { // the hook repairs it again: see repairLost
		c.receiver.Forsake()
		_ = c.receiver.End() // its sockets are not read here
		delete(n.containers, c.number)
		c.receiver.Close()
		c.unsave()
	}
	return err
}
