package logfile

import (
	"compress/gzip"
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"devlog/internal/safepath"

	"golang.org/x/sys/unix"
)

// lowest is the priority of the compressing thread (setpriority(2)).
const lowest = 19

// errOther means that another process compresses the file.
var errOther = errors.New("another process compresses it")

// compression makes a compressed copy of an old file, in another goroutine. It takes about 1
// MB of memory meanwhile. Running gzip(1) instead would need a program that containers seldom
// have.
type compression struct {
	dir        safepath.Folder
	name, from string      // of the log file and of the old file, in dir
	info       unix.Stat_t // of the old file
	to         *os.File
	done       chan error
	cancel     atomic.Bool
	running    bool // it has a processor; set by the goroutine that starts and closes it
}

// temp returns the name of the copy until it is complete.
func (c *compression) temp() string { return c.name + gzipSuffix + ".tmp" }

// processors is how many processors Go uses: a second one during compressing, because the
// receiver would otherwise wait for a thread of the lowest priority.
type processors struct {
	mu     sync.Mutex
	jobs   int
	before int
}

var beside processors

// Compressing returns whether a file is being compressed.
func Compressing() bool {
	beside.mu.Lock()
	defer beside.mu.Unlock()
	return beside.jobs > 0
}

func (p *processors) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.jobs == 0 {
		p.before = runtime.GOMAXPROCS(0)
		if p.before < 2 {
			runtime.GOMAXPROCS(2)
		}
	}
	p.jobs++
}

func (p *processors) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.jobs--; p.jobs == 0 && p.before < 2 {
		runtime.GOMAXPROCS(p.before)
	}
}

// startCompression compresses the old file from of the log file name in the directory. The
// compression closes the directory.
func startCompression(dir safepath.Folder, name, from string) *compression {
	c := &compression{dir: dir, name: name, from: from, done: make(chan error, 1)}
	in, err := dir.Open(from, unix.O_RDONLY, 0)
	if err != nil {
		c.done <- err
		return c
	}
	source := os.NewFile(uintptr(in), from)
	if err = unix.Fstat(in, &c.info); err == nil {
		c.to, err = claim(dir, c.temp())
	}
	if err != nil {
		_ = source.Close()
		c.done <- err
		return c
	}
	beside.begin()
	c.running = true
	go func() {
		// The thread stays locked, so it ends with the goroutine.
		runtime.LockOSThread()
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), lowest)
		err := c.run(source)
		_ = source.Close()
		if err != nil {
			_ = dir.Remove(c.temp())
		}
		debug.FreeOSMemory()
		c.done <- err
	}()
	return c
}

// claim opens a file for writing that no other process writes.
func claim(dir safepath.Folder, name string) (*os.File, error) {
	fd, err := dir.Open(name, unix.O_WRONLY|unix.O_CREAT, 0o600)
	if err != nil {
		return nil, err
	}
	// Another process may have renamed or removed the file before it unlocked it.
	var own unix.Stat_t
	if err := unix.Fstat(fd, &own); err == nil && fdHandle(fd).Lock() {
		if there, err := dir.Stat(name); err == nil && safepath.Same(&own, &there) {
			return os.NewFile(uintptr(fd), name), nil
		}
	}
	_ = unix.Close(fd)
	return nil, errOther
}

// run makes the copy. The copy must be on the disk before the old file is removed.
func (c *compression) run(in *os.File) error {
	to := fdHandle(c.to.Fd())
	if err := to.Empty(); err != nil {
		return err
	}
	to.Like(fdHandle(in.Fd()))
	z := gzip.NewWriter(c.to)
	z.Name, z.ModTime = c.from, time.Unix(c.info.Mtim.Unix())
	n, err := io.Copy(z, reader{in, &c.cancel})
	if err == nil {
		err = z.Close()
	}
	if err == nil {
		err = to.Sync()
	}
	if size, _ := fdHandle(in.Fd()).Size(); err == nil && size != n {
		err = errors.New("another program still writes to it")
	}
	return err
}

func (c *compression) close() {
	if c.running {
		c.running = false
		beside.end()
	}
	if c.to != nil {
		_ = c.to.Close() // it was synced
	}
	c.dir.Close()
}

// reader reads a file until it is stopped.
type reader struct {
	file   *os.File
	cancel *atomic.Bool
}

func (r reader) Read(p []byte) (int, error) {
	if r.cancel.Load() {
		return 0, errOther
	}
	return r.file.Read(p)
}
