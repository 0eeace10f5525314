package running

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/nodecall"
	"devlog/internal/rootfs"
)

// A host's node (devlogd --node) receives for many containers. Its first process has their
// directories open, and its child reads the messages.

// AtNode returns whether the process is a node.
func AtNode(pid int) bool { return hasOption(pid, "--node") }

// hasOption returns whether the option is among the process's own.
func hasOption(pid int, option string) bool {
	line, err := file.Read("/proc/"+strconv.Itoa(pid)+"/cmdline", maxCmdline)
	if err != nil {
		return false
	}
	own, _, _ := strings.Cut(string(line), "\x00--\x00")
	return strings.Contains(own+"\x00", "\x00"+option+"\x00")
}

// readerOf returns the process that reads the messages of the receiver with that process ID: of
// a node, its child.
func readerOf(pid int) int {
	if !AtNode(pid) {
		return pid
	}
	lists, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	if err != nil {
		return pid
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for _, child := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(child); err == nil && hasOption(n, "--node-reader") {
				return n
			}
		}
	}
	return pid
}

// endAtNode has the node end the receiver of that directory. A node that does not know it has
// ended it already.
func endAtNode(at *rootfs.Dir) error {
	_, err := nodecall.Call(nodecall.Request{Operation: nodecall.End}, handover.Passed{File: at.File(), Name: nodecall.NameDirectory})
	var said *nodecall.Error
	if errors.As(err, &said) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot end the receiver: %w", err)
	}
	return nil
}

// Hand hands further sockets and names over to the node's receiver of that directory.
func Hand(at *rootfs.Dir, files []handover.Passed) error {
	directory := handover.Passed{File: at.File(), Name: nodecall.NameDirectory}
	_, err := nodecall.Call(nodecall.Request{Operation: nodecall.Receive}, append([]handover.Passed{directory}, files...)...)
	return err
}

// listOfNode returns the receivers of the node; none without one, or if this process may not ask
// it.
func listOfNode() (list []Receiver, err error) {
	a, err := nodecall.Call(nodecall.Request{Operation: nodecall.List})
	if errors.Is(err, nodecall.ErrNone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, c := range a.Containers {
		r, ok := parseOptions(c.Args)
		if !ok {
			continue
		}
		r.PID, r.Container, r.OnHost, r.Since = a.PID, c.Init, true, c.Since
		r.Account = &Account{Received: c.Received, Lost: c.Lost}
		list = append(list, r)
	}
	return list, nil
}
