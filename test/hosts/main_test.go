// Package hosts tests how the checks of the real hosts are judged.
package hosts

import (
	"testing"

	"devlog/test/host"
)

func TestMain(m *testing.M) { host.Main(m) }
