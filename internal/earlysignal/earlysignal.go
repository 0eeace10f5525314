// Package earlysignal catches the signals that a program gets before its main function, if it
// replaced another program in the same process: they were meant for that program. It must
// catch them from the first moment, because Go's runtime installs its own handler although the
// earlier program ignored the signal (runtime.sigInstallGoHandler), and SIGTERM would then end
// the program.
//
// It imports little, so that it is initialized before packages that import more (The Go
// Programming Language Specification, "Program initialization").
package earlysignal

import (
	"os"
	"os/signal"
	"syscall"
)

// StateVariable is the environment variable that tells a program that it replaced another one.
// It has the descriptor of the state that the other left.
const StateVariable = "DEVLOGD_STATE"

// Caught are the signals that the receiver handles.
var Caught = []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2}

// early is nil in a program that did not replace another one.
var early chan os.Signal

func init() {
	if _, ok := os.LookupEnv(StateVariable); ok {
		early = Catch()
	}
}

// Catch returns a channel to which all signals of Caught are sent from now on.
func Catch() chan os.Signal {
	c := make(chan os.Signal, 64)
	signal.Notify(c, Caught...)
	return c
}

// Take returns the channel of the signals since the program's start. Later calls return new
// channels.
func Take() chan os.Signal {
	c := early
	early = nil
	if c == nil {
		c = Catch()
	}
	return c
}
