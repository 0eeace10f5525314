package router

import (
	"os"
	"strconv"
	"testing"
)

func TestInNSpid(t *testing.T) {
	for _, tt := range []struct {
		status string
		want   bool
	}{
		{"Name:\ta\nNSpid:\t100\t7\nNSpgid:\t5\n", true},
		{"Name:\ta\nNSpid:\t7\n", true},
		{"Name:\ta\nNSpid:\t100\t70\nNSpgid:\t7\n", false},
		{"Name:\ta\nNStgid:\t100\n", true},
		{"", true},
	} {
		if got := inNSpid([]byte(tt.status), []byte("7")); got != tt.want {
			t.Errorf("%q: got %v", tt.status, got)
		}
	}
	if !isCalled("/proc", int32(os.Getpid()), []byte(strconv.Itoa(os.Getpid()))) || isCalled("/proc", int32(os.Getpid()), []byte("1")) {
		t.Error("this process is not called what it is")
	}
}
