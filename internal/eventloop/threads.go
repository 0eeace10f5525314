package eventloop

import (
	"bytes"
	"errors"
	"os"
	"time"

	"devlog/internal/file"
)

// A thread hangs if it waits for hangTime: a write to a busy disk can take some tenths of a
// second. hangPause is the time between two checks.
const (
	hangTime  = time.Second
	hangPause = 5 * time.Millisecond
)

// ThreadHangs returns whether a thread of this process is in uninterruptible sleep ("D" in
// proc_pid_stat(5)). Without /proc it returns false.
func ThreadHangs() bool {
	for end := time.Now().Add(hangTime); time.Now().Before(end); {
		if !threadWaits("/proc/self/task") {
			return false
		}
		time.Sleep(hangPause)
	}
	return true
}

func threadWaits(tasks string) bool {
	dir, err := os.Open(tasks)
	if err != nil {
		return false
	}
	names, err := dir.Readdirnames(-1)
	if err = errors.Join(err, dir.Close()); err != nil {
		return false
	}
	for _, name := range names {
		stat, err := file.Read(tasks+"/"+name+"/stat", 4<<10)
		if err != nil {
			continue // the thread has ended
		}
		if _, state, ok := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" ")); ok && bytes.HasPrefix(state, []byte("D")) {
			return true
		}
	}
	return false
}
