package receiver

import (
	"errors"

	"devlog/internal/eventloop"
)

// hung is why the program cannot be replaced now: execve(2) waits for the end of all
// threads, and a thread that waits for a file system cannot be ended.
func (r *receiver) hung() error {
	if err := r.router.Hung(); err != nil {
		return err
	}
	if eventloop.ThreadHangs() {
		return errors.New("a file system does not answer: try again when it does")
	}
	return nil
}
