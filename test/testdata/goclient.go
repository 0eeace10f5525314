// goclient TYPE: sends by log/syslog to a socket at /dev/log.
package main

import (
	"log"
	"log/syslog"
	"os"
)

func main() {
	network := "unixgram"
	if os.Args[1] == "stream" {
		network = "unix"
	}
	w, err := syslog.Dial(network, "/dev/log", syslog.LOG_MAIL|syslog.LOG_INFO, "goer")
	if err != nil {
		log.Fatal(err)
	}
	if err := w.Err("one"); err != nil {
		log.Fatal(err)
	}
	if err := w.Debug("two\nlines"); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
}
