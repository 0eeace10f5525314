// Package engine tests what devlog-hook does to a host and its containers: it looks, repairs and undoes.
package engine

import (
	"testing"

	"devlog/test/host"
)

func TestMain(m *testing.M) { host.Main(m) }
