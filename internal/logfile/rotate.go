package logfile

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"time"

	"devlog/internal/output"
	"devlog/internal/safepath"

	"golang.org/x/sys/unix"
)

const (
	// rotateRetry is how long a rotation that failed is not tried again.
	rotateRetry = 10 * time.Second
	// jobPoll is how often compressing is looked after.
	jobPoll    = 100 * time.Millisecond
	gzipSuffix = ".gz"
)

// Rotation says when a file is begun anew, and how many old ones are kept: as
// FILE.0, the latest, to FILE.(Count-1), as sysklogd names them.
type Rotation struct {
	Size  int64 // bytes that the file may have; 0 is any number
	Count int   // old files; with 0 the file is emptied
	Gzip  bool  // old files from FILE.1 on are compressed
}

// rotation is how a file's old ones are named and compressed. It alone gives
// names to files; compressing happens under a name of its own.
type rotation struct {
	Rotation
	safepath.Place
	rename func(d safepath.Folder, from, to string) error
	retry  time.Time // no rotation before that
	job    *compression
	look   time.Time // to see whether job is done
	said   bool      // that compressing fails
}

func newRotation(p safepath.Place, r Rotation) *rotation {
	return &rotation{Rotation: r, Place: p, rename: safepath.Folder.Rename}
}

// setRotation has the file be rotated otherwise from now on.
func (f *File) setRotation(r Rotation) {
	switch {
	case r.Size <= 0 && f.rotation != nil:
		f.rotation.abandon()
		f.rotation = nil
	case r.Size > 0 && f.rotation != nil:
		f.rotation.Rotation = r
	case r.Size > 0:
		f.rotation = newRotation(f.Place, r)
	}
}

// room is how many bytes may go to the file, which is begun anew when the next
// line does not fit.
func (f *File) room(now time.Time) int {
	if f.rotation == nil || f.lines.Torn() > 0 {
		return math.MaxInt
	}
	size, _ := f.file.Size()
	line := f.lines.FirstLine()
	if size > 0 && size+int64(line) > f.rotation.Size {
		if !f.rotate(now) {
			return math.MaxInt // better too much than nothing
		}
		size, _ = f.file.Size()
	}
	return int(min(f.rotation.Size-size, math.MaxInt)) // an int may have 32 bits
}

// rotate begins the file anew and reports whether it has.
func (f *File) rotate(now time.Time) bool {
	r, old := f.rotation, f.file
	if now.Before(r.retry) {
		return false
	}
	if !old.Lock() { // another process is just doing it
		r.retry = now.Add(output.FirstRetry)
		return false
	}
	if err := f.beginAnew(now); err != nil {
		old.Unlock()
		r.retry = now.Add(rotateRetry)
		f.complain("cannot rotate " + f.Path + ": " + err.Error() + "; it keeps growing")
		return false
	}
	if f.file == old {
		old.Unlock()
	}
	f.said = ""
	r.compress()
	return true
}

// beginAnew is rotate with the lock.
func (f *File) beginAnew(now time.Time) error {
	if !f.file.Is(f.Place) { // another process has done it
		return f.replace(now)
	}
	if f.rotation.Count <= 0 {
		return f.file.Empty()
	}
	d, name, err := f.Folder()
	if err != nil {
		return err
	}
	defer d.Close()
	undo, err := f.rotation.shift(d, name)
	if err != nil {
		return err
	}
	h, err := f.open(f.Place)
	if err != nil {
		undo()
		return err
	}
	h.Like(f.file)
	f.closeFile()
	f.file, f.looked, f.ended = h, now, false
	return nil
}

func numbered(name string, i int) string { return name + "." + strconv.Itoa(i) }

// shift names the file FILE.0. Each old one up to the first number that is
// free gets the next one; when none is free the oldest goes. So an attempt
// that fails and is made again costs no old file.
func (r *rotation) shift(d safepath.Folder, name string) (undo func(), err error) {
	free := 0
	for free < r.Count-1 && (d.Has(numbered(name, free)) || d.Has(numbered(name, free)+gzipSuffix)) {
		free++
	}
	for i := free; i > 0; i-- {
		if err := r.move(d, numbered(name, i-1), numbered(name, i)); err != nil {
			return nil, err
		}
	}
	first := numbered(name, 0)
	if err := r.rename(d, name, first); err != nil {
		return nil, err
	}
	_ = d.Remove(first + gzipSuffix)                    // of an older log; there is none mostly
	return func() { _ = r.rename(d, first, name) }, nil // else the next attempt opens the file anew
}

// move renames an old file, compressed or not, and removes what had the name.
func (r *rotation) move(d safepath.Folder, from, to string) error {
	plain, packed := r.rename(d, from, to), r.rename(d, from+gzipSuffix, to+gzipSuffix)
	for _, err := range []error{plain, packed} {
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	if plain != nil && packed == nil {
		_ = d.Remove(to)
	}
	if packed != nil && plain == nil {
		_ = d.Remove(to + gzipSuffix)
	}
	return nil
}

// busy says that an old file is being compressed.
func (r *rotation) busy() bool { return r.job != nil }

// compress begins to compress the latest old file but FILE.0 that is not: to
// that one another process may still write.
func (r *rotation) compress() {
	if !r.Gzip || r.job != nil {
		return
	}
	d, name, err := r.Folder()
	if err != nil {
		return // so it is for the next file, and said there
	}
	for i := 1; i < r.Count; i++ {
		old := numbered(name, i)
		st, err := d.Stat(old)
		if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		if _, err := d.Stat(old + gzipSuffix); err == nil {
			_ = d.Remove(old) // a crash came between; the compressed one is whole
			continue
		}
		r.job = startCompression(d, name, old)
		r.look = time.Now().Add(jobPoll)
		return
	}
	d.Close()
}

// step gives a file that was compressed its name.
func (r *rotation) step(now time.Time) error {
	if r.job == nil {
		return nil
	}
	select {
	case err := <-r.job.done:
		job := r.job
		r.job = nil
		if err == nil {
			err = r.put(job)
		}
		job.close()
		switch {
		case err == nil:
			r.said = false
			r.compress()
		case !errors.Is(err, errOther) && !r.said: // the next rotation tries again
			r.said = true
			return fmt.Errorf("cannot compress %s: %w", filepath.Join(job.dir.Path(), job.from), err)
		}
	default:
		r.look = now.Add(jobPoll)
	}
	return nil
}

// put puts the compressed file in the place of the other, whatever that is
// called by now.
func (r *rotation) put(job *compression) error {
	for i := 1; i < r.Count; i++ {
		old := numbered(job.name, i)
		if st, err := job.dir.Stat(old); err != nil || !safepath.Same(&st, &job.info) {
			continue
		}
		if err := r.rename(job.dir, job.temp(), old+gzipSuffix); err != nil {
			return err
		}
		return job.dir.Remove(old)
	}
	return job.dir.Remove(job.temp()) // it was the oldest, and is gone
}

// abandon leaves nothing half done behind.
func (r *rotation) abandon() {
	if r.job != nil {
		r.job.cancel.Store(true)
		_ = r.job.dir.Remove(r.job.temp())
		r.job = nil
	}
}
