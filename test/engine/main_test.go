// Package engine tests what devlog-hook does to a host and its containers: it checks, repairs and undoes.
package engine

import (
	"testing"

	"devlog/test/host"
)

func TestMain(m *testing.M) { host.Main(m) }
