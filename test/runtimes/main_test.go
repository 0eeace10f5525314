// Package runtimes tests the hook with real container runtimes, at every stage at which they run hooks.
package runtimes

import (
	"testing"

	"devlog/test/host"
)

func TestMain(m *testing.M) { host.Main(m) }
