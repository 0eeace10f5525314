// Package docs tests that documents say what is so.
package docs

import (
	"testing"

	"devlog/test/host"
)

func TestMain(m *testing.M) { host.Main(m) }
