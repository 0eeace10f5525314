// Command devlogd receives the messages that programs send to /dev/log and
// writes them to files and to the kernel's log.
package main

import (
	"os"

	"devlog/internal/devlogd"
	_ "devlog/internal/uniprocessor" // at first
)

func main() { os.Exit(devlogd.Main(os.Args, os.Stdout, os.Stderr)) }
