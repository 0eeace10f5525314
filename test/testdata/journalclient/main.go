// journalclient logs to systemd's journal with the client that Go programs use. It is a module
// of its own, so that its dependency is not the project's.
package main

import (
	"os"

	"github.com/coreos/go-systemd/v22/journal"
)

func main() {
	if !journal.Enabled() || journal.Send("from Go\nin two lines", journal.PriErr, map[string]string{"ORDER": "8", "SYSLOG_IDENTIFIER": "journalclient"}) != nil {
		os.Exit(1)
	}
}
