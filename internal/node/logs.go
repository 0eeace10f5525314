package node

import (
	"os"
	"path/filepath"
	"strings"

	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/reader"
	"devlog/internal/safepath"
	"devlog/internal/sandbox"
	"devlog/internal/syslogconf"
)

// DefaultUser is the user of the process that reads messages, if there is one of that name.
const DefaultUser = "devlog"

// readerUser returns the user of the process that reads messages: the chosen one, the default one if
// it exists, or this process's.
func readerUser(chosen *sandbox.User) sandbox.User {
	own := sandbox.User{UID: os.Geteuid(), GID: os.Getegid()}
	if chosen != nil {
		return *chosen
	}
	if u, err := sandbox.ParseUser(DefaultUser); err == nil && own.UID == 0 {
		return u
	}
	return own
}

// prepare makes the directories of the container's logs for the reader's user. Files in them that
// belong to an earlier reader's user get the new owner. It ignores errors in the rules: the reader
// reports them.
func (c *container) prepare() error {
	config, err := c.node.Parse(c.args)
	if err != nil {
		return err
	}
	own := filepath.Join(syslogconf.LogsDir, config.Name)
	files := map[string][]string{own: nil} // by directory
	if config.Metrics != "" {
		files[filepath.Dir(config.Metrics)] = nil
	}
	rules, _ := config.Rules()
	c.kernel = false
	for _, rule := range rules {
		switch rule.Kind {
		case syslogconf.Kernel:
			c.kernel = true
		case syslogconf.File:
			dir, name := filepath.Split(filepath.Clean(rule.Path))
			dir = filepath.Clean(dir)
			files[dir] = append(files[dir], name, name+".0", name+".1") // rotated ones may not be compressed yet
		}
	}
	for dir, names := range files {
		mine := config.Name != "" && (dir == own || strings.HasPrefix(dir, own+"/"))
		if err := c.node.prepareDirectory(dir, names, mine); err != nil {
			return err
		}
	}
	return nil
}

// prepareDirectory prepares a directory of logs. mine says that it is the container's only.
func (n *Node) prepareDirectory(dir string, names []string, mine bool) error {
	if !strings.HasPrefix(dir, syslogconf.LogsDir+"/") {
		return nil // the reader refuses it
	}
	if err := safepath.MakeDirectory(dir, syslogconf.LogsDir, n.User.UID, n.User.GID); err != nil || !mine {
		return err
	}
	from := []int{os.Geteuid()}
	if u, err := sandbox.ParseUser(DefaultUser); err == nil {
		from = append(from, u.UID)
	}
	return safepath.Give(dir, syslogconf.LogsDir, names, n.User.UID, from...)
}

// kernelLog returns the open kernel's log for the reader; none if it cannot be opened, which the
// reader reports.
func kernelLog() []handover.Passed {
	fd, err := file.OpenKernelLog(syslogconf.KernelLog)
	if err != nil {
		return nil
	}
	return []handover.Passed{{File: os.NewFile(uintptr(fd), syslogconf.KernelLog), Name: reader.NameKernelLog}}
}
