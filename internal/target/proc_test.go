package target

import (
	"testing"
)

func TestInnermostPID(t *testing.T) {
	for status, want := range map[string]int{
		"Name:\tsh\nNSpid:\t100\t7\t1\n": 1,
		"NSpid:\t42\n":                   42,
		"NSpid:\n":                       0,
		"Name:\tNSpid: 3\n":              0,
		"":                               0,
	} {
		if got := InnermostPID(status); got != want {
			t.Errorf("innermostPID(%q) = %d, want %d", status, got, want)
		}
	}
}

func TestIsShared(t *testing.T) {
	for optional, want := range map[string]bool{
		"shared:1": true, "shared:7 master:2": true, "master:2": false, "": false, "unbindable": false, "propagate_from:shared:1": false,
	} {
		if got := IsShared(optional); got != want {
			t.Errorf("isShared(%q) = %t", optional, got)
		}
	}
}
