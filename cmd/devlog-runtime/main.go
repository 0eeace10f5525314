// Command devlog-runtime is an OCI runtime for engines that take no hooks from
// their users: it adds devlog's to a container that is being created, and lets
// runc do the work; see devlog-runtime(8).
//
// The runtime is not to watch the cgroup's CPU limit: that keeps its files open
// and wakes the process up.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"os"

	"devlog/internal/wrapper"
)

func main() { os.Exit(wrapper.Main(os.Args, os.Environ(), os.Stderr)) }
