package running

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/rootfs"
	"devlog/internal/syslogconf"
	"devlog/internal/target"
)

const (
	// minFree is the space, in bytes, below which a file system is full. df(1) shows 100 %
	// then; root can often write a little more.
	minFree = 4 << 10
	// statfsTimeout bounds the wait for a file system that does not answer.
	statfsTimeout = time.Second
)

// LogTrouble returns a function for the receivers in list, which is from List. That returns why a
// container's receiver cannot write one of its log files now: the file and the reason; empty if it
// can, or if that is not known. receiver is the receiver's process, and init the container's first.
func LogTrouble(list []Receiver) func(receiver, init int) string {
	type place struct {
		receiver int
		mounts   uint64 // the container's mount namespace
	}
	at := map[place]Receiver{}
	for _, r := range slices.Backward(list) { // of two in one place, the first counts
		if ns, err := target.Namespace(strconv.Itoa(r.Container), "mnt"); err == nil {
			at[place{r.PID, ns}] = r
		}
	}
	return func(receiver, init int) string {
		ns, err := target.Namespace(strconv.Itoa(init), "mnt")
		r, ok := at[place{receiver, ns}]
		if err != nil || !ok {
			return ""
		}
		return r.logTrouble()
	}
}

func (r Receiver) logTrouble() string {
	if !r.OnHost && (r.Config != "" || len(r.Rules) == 0) {
		return "" // its rules are in a file of the container's
	}
	rules, err := syslogconf.Load(r.Config, r.Rules, syslogconf.DefaultMessages)
	if err != nil {
		return ""
	}
	root, err := rootfs.Open("/proc/" + strconv.Itoa(readerOf(r.PID)) + "/root")
	if err != nil {
		return ""
	}
	defer root.Close()
	for _, rule := range rules {
		if rule.Kind != syslogconf.File {
			continue
		}
		if trouble := inTime(func() string { return troubleAt(root, rule.Path) }); trouble != "" {
			return fmt.Sprintf("%s: %s", rule.Path, trouble)
		}
	}
	return ""
}

// inTime returns what look returns, or that the file system did not answer. look then stays behind
// on its own thread.
func inTime(look func() string) string {
	said := make(chan string, 1)
	go func() { said <- look() }()
	select {
	case trouble := <-said:
		return trouble
	case <-time.After(statfsTimeout):
		return "file system does not answer"
	}
}

// troubleAt returns why nothing can be written to the file at path in root, or empty.
func troubleAt(root *rootfs.Root, path string) string {
	place, err := root.Resolve(path)
	if err != nil || place.Blocked != nil {
		return ""
	}
	defer place.Close()
	if place.Dir == nil {
		return "its directory does not exist"
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(place.Dir.FD(), &fs); err != nil {
		return ""
	}
	return trouble(fs)
}

// trouble returns why nothing can be written to a file system with these statistics, or empty.
func trouble(fs unix.Statfs_t) string {
	switch {
	case fs.Flags&unix.ST_RDONLY != 0:
		return "read-only file system"
	case fs.Blocks > 0 && fs.Bavail*uint64(fs.Bsize) < minFree:
		return "disk full"
	}
	return ""
}
