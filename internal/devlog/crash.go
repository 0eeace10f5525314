//go:build !devlog_crash

package devlog

// checkpoint stands between two changes of a repair. The build tag
// devlog_crash makes a program for tests that dies there.
func checkpoint() {}
