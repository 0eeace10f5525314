// Package earlysignal owns the signals that a program gets before its main function
// runs, if it replaced another program in the same process: the sender meant them for
// that one. It catches them from the first instant, because SIGTERM would end the
// program at once: Go's runtime installs its own handler, and so undoes that the program
// before had the signal ignored (runtime.sigInstallGoHandler).
//
// It depends on little, so that it is initialized before the packages that depend on more
// (The Go Programming Language Specification, "Program initialization").
package earlysignal

import (
	"os"
	"os/signal"
	"syscall"
)

// StateVariable is the environment variable by which a program knows that it replaced
// another one: it holds the descriptor of the state that this one left.
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

// Take returns the channel of the signals that were caught since the start of the
// program, once. The next call returns a new channel.
func Take() chan os.Signal {
	c := early
	early = nil
	if c == nil {
		c = Catch()
	}
	return c
}
