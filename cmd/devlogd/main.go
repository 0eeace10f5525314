// Command devlogd receives the messages that programs send to /dev/log and
// writes them to files and to the kernel's log.
//
// The runtime is not to watch the cgroup's CPU limit: that keeps its files open
// and wakes the process up.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"os"

	"devlog/internal/receiver"
	_ "devlog/internal/uniprocessor" // at first
)

func main() { os.Exit(receiver.Main(os.Args, os.Stdout, os.Stderr)) }
