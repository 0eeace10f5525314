//go:build !devlog_crash

// Package crash owns the points between two changes at which a test can kill this
// program.
package crash

// Point stands between two changes of a repair. The build tag
// devlog_crash makes a program for tests that dies there.
func Point() {}
