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
	// rotateRetry is the time until a failed rotation is tried again.
	rotateRetry = 10 * time.Second
	// jobPoll is how often to check whether compressing has ended.
	jobPoll    = 100 * time.Millisecond
	gzipSuffix = ".gz"
)

// Rotation says when to start a new file, and how many old files to keep. As with sysklogd,
// FILE.0 is the newest and FILE.(Count-1) the oldest.
type Rotation struct {
	Size  int64 // the most bytes of the file; 0 for no limit
	Count int   // how many old files; with 0 the file is emptied instead
	Gzip  bool  // compress old files from FILE.1 on
}

// rotation renames and compresses old files. Only it renames them: compressing uses a name of
// its own.
type rotation struct {
	Rotation
	safepath.Place
	rename func(d safepath.Folder, from, to string) error
	retry  time.Time // no rotation before that
	job    *compression
	look   time.Time // when to check whether job has ended
	said   bool      // it was reported that compressing fails
}

func newRotation(p safepath.Place, r Rotation) *rotation {
	return &rotation{Rotation: r, Place: p, rename: safepath.Folder.Rename}
}

// setRotation changes the rotation.
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

// room returns how many bytes may go to the file. It rotates the file if the next line does
// not fit.
func (f *File) room(now time.Time) int {
	if f.rotation == nil || f.lines.Torn() > 0 {
		return math.MaxInt
	}
	size, _ := f.file.Size()
	line := f.lines.FirstLine()
	if size > 0 && size+int64(line) > f.rotation.Size {
		if !f.rotate(now) {
			return math.MaxInt // a file that is too large is better than no log
		}
		size, _ = f.file.Size()
	}
	return int(min(f.rotation.Size-size, math.MaxInt)) // an int may have 32 bits
}

// rotate starts a new file, and returns whether it did.
func (f *File) rotate(now time.Time) bool {
	r, old := f.rotation, f.file
	if now.Before(r.retry) {
		return false
	}
	if !old.Lock() { // another process is rotating it
		r.retry = now.Add(output.FirstRetry)
		return false
	}
	if err := f.startFile(now); err != nil {
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

// startFile is rotate while it holds the lock.
func (f *File) startFile(now time.Time) error {
	if !f.file.Is(f.Place) { // another process has rotated it
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

// shift renames the file to FILE.0. Each old file before the first free number moves to the
// next number; if none is free, the oldest is removed. So a failed attempt that is repeated
// costs no old file.
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
	_ = d.Remove(first + gzipSuffix)                    // from an earlier configuration; usually it does not exist
	return func() { _ = r.rename(d, first, name) }, nil // otherwise the next attempt opens the path again
}

// move renames an old file, compressed or not, and removes the file that had the new name.
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

// busy returns whether an old file is being compressed.
func (r *rotation) busy() bool { return r.job != nil }

// compress starts compressing the newest old file that is not compressed, except FILE.0:
// another process may still write to that.
func (r *rotation) compress() {
	if !r.Gzip || r.job != nil {
		return
	}
	d, name, err := r.Folder()
	if err != nil {
		return // the next file has the same problem, and reports it
	}
	for i := 1; i < r.Count; i++ {
		old := numbered(name, i)
		st, err := d.Stat(old)
		if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		if _, err := d.Stat(old + gzipSuffix); err == nil {
			_ = d.Remove(old) // left by a crash; the compressed file is complete
			continue
		}
		r.job = startCompression(d, name, old)
		r.look = time.Now().Add(jobPoll)
		return
	}
	d.Close()
}

// step renames a file whose compressing has ended.
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

// put replaces the old file by the compressed one, under the old file's present name.
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
	return job.dir.Remove(job.temp()) // it was the oldest, and was removed
}

// abandon stops compressing and removes the partial copy.
func (r *rotation) abandon() {
	if r.job != nil {
		r.job.cancel.Store(true)
		_ = r.job.dir.Remove(r.job.temp())
		r.job = nil
	}
}
