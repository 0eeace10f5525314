//go:build devlog_crash

package devlog

import (
	"os"
	"strconv"
	"syscall"
)

var checkpoints int

// checkpoint kills this process when it comes to the checkpoint that
// DEVLOG_CRASH counts, from 1 on.
func checkpoint() {
	checkpoints++
	if n, err := strconv.Atoi(os.Getenv("DEVLOG_CRASH")); err == nil && n == checkpoints {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}
