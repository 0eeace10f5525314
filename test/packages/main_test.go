// Package packages tests what make install, the packages and the completions install.
package packages

import (
	"testing"

	"devlog/test/host"
)

func TestMain(m *testing.M) { host.Main(m) }
