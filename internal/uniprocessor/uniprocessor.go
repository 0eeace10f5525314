// Package uniprocessor limits a program to one processor (P) before any other package is
// initialized. Import it for that alone. Removing the main goroutine's P later would lose what
// was allocated with it, up to 0.2 MB: at this time that is almost nothing.
//
// It only imports the runtime, so it is initialized in the order of import paths, before
// packages that import more (The Go Programming Language Specification, "Program
// initialization").
package uniprocessor

import "runtime"

func init() { runtime.GOMAXPROCS(1) }
