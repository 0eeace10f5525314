// Command devlog-runtime is an OCI runtime for engines that take no hooks from
// their users: it adds devlog's to a container that is being created, and lets
// runc do the work; see devlog-runtime(8).
package main

import (
	"os"

	"devlog/internal/wrapper"
)

func main() { os.Exit(wrapper.Main(os.Args, os.Environ(), os.Stderr)) }
