//go:build soak

// Package soak tests devlog for a long time while everything goes wrong that can.
package soak

import (
	"testing"

	"devlog/test/host"
)

func TestMain(m *testing.M) { host.Main(m) }
