// Command devlog-hook makes syslog(3) work in containers. It is a container
// runtime's hook and a command line; see devlog-hook(8).
package main

import (
	"os"

	"devlog/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
