//go:build soak

// Package soak has everything go wrong that can, for a time.
package soak

import (
	"testing"

	"devlog/test/host"
)

func TestMain(m *testing.M) { host.Main(m) }
