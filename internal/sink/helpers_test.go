package sink

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/output/outputtest"
)

// socketPair makes two connected sockets.
func socketPair(t *testing.T) [2]int {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	outputtest.Must(t, err)
	return pair
}

// socketFile makes two connected sockets, which are closed at the end of the test.
func socketFile(t *testing.T) (peer int, socket *os.File) {
	t.Helper()
	pair := socketPair(t)
	socket = os.NewFile(uintptr(pair[1]), "socket")
	t.Cleanup(func() {
		_ = unix.Close(pair[0])
		_ = socket.Close()
	})
	return pair[0], socket
}

// pipe makes a pipe.
func pipe(t *testing.T) (ends [2]int) {
	t.Helper()
	outputtest.Must(t, unix.Pipe2(ends[:], unix.O_CLOEXEC))
	return ends
}

// standardOutputs makes what a standard output can be: its reader, which does not wait, and
// its writer. The test closes both.
func standardOutputs(t *testing.T) map[string][2]int {
	t.Helper()
	outputs := map[string][2]int{"pipe": pipe(t), "socket": socketPair(t)}
	for _, ends := range outputs {
		outputtest.Must(t, unix.SetNonblock(ends[0], true))
	}
	return outputs
}
