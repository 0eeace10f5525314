// Package uniprocessor owns the number of processors (P) of a program that uses
// one: imported for that alone, it sees to it before any other package is
// initialized. The P that the main goroutine has by then takes what was allocated
// with it along when it goes, and leaves up to 0.2 MB behind that never comes
// back: at this time there is next to nothing.
//
// It depends on the runtime alone and so is initialized when its import path has
// its turn, before what depends on more (The Go Programming Language
// Specification, "Program initialization").
package uniprocessor

import "runtime"

func init() { runtime.GOMAXPROCS(1) }
