// Package receiver tests devlogd with real syslog clients, and what its outputs do.
package receiver

import (
	"testing"

	"devlog/test/host"
)

func TestMain(m *testing.M) { host.Main(m) }
