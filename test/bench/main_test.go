package main

import (
	"testing"

	"devlog/test/host"
)

func TestMain(m *testing.M) { host.Main(m) }
