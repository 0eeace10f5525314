// Package nodecall owns the calls to a host's node, the one service that receives for all its
// containers (devlogd --node): their format, and the caller's side.
//
// A call is one message on a SOCK_SEQPACKET socket: open files with their names, of which the
// first is memory with a Request. The answer is one such message, with an Answer. Requests and
// answers are JSON, and may come from any version: unknown members are ignored.
package nodecall

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/rights"
)

// Unit is the systemd service of a node.
const Unit = "devlogd.service"

// Socket is where a node listens. Only root may connect.
const Socket = "/run/devlog/node"

// nameCall is the name of the memory with a Request or an Answer.
const nameCall = "call"

// NameDirectory is the name of the directory that names a container in a call.
const NameDirectory = "directory"

// Operation is what a node is asked for.
type Operation string

// The operations. All but List name their container by the directory of its private socket.
const (
	// Add has the node receive for a container.
	Add Operation = "add"
	// End has it write what it has received for the container, and forget the container.
	End Operation = "end"
	// Receive has it receive from further sockets of the container.
	Receive Operation = "receive"
	// List asks for all its containers.
	List Operation = "list"
)

// Request asks a node for an operation.
type Request struct {
	Operation Operation `json:"operation"`
	// Args are, for Add, what devlogd would be started with.
	Args []string `json:"args,omitempty"`
	// Repair is, for Add, what the hook needs to repair the container again if the node loses
	// its sockets. Only the hook reads it.
	Repair json.RawMessage `json:"repair,omitempty"`
}

// Answer is the node's answer to a Request.
type Answer struct {
	// Error is why it did not do what it was asked for; empty if it did.
	Error string `json:"error,omitempty"`
	// PID is its process.
	PID        int         `json:"pid,omitempty"`
	Containers []Container `json:"containers,omitempty"`
}

// Container is a container of a node.
type Container struct {
	Args     []string  `json:"args"`
	Init     int       `json:"init"` // its first process; 0 if not known
	Since    time.Time `json:"since"`
	Received uint64    `json:"received"`
	Lost     uint64    `json:"lost"`
}

// NameOrders is the name of the reader's connection to the node's watcher, for Orders and Results.
const NameOrders = "node-reader"

// Order is what the node's watcher tells its reader to do. The reader answers each with a Result.
// IDs are the watcher's numbers of containers.
type Order struct {
	Operation Operation `json:"operation"`
	Number    uint64    `json:"number"`
	ID        uint64    `json:"id"`
	Args      []string  `json:"args,omitempty"`      // for Add
	Again     bool      `json:"again,omitempty"`     // for Add: another reader had the container
	Confirmed bool      `json:"confirmed,omitempty"` // for Add: so it is
	Socket    uint64    `json:"socket,omitempty"`    // for Retire: its inode number
	Severity  int       `json:"severity,omitempty"`
	Text      string    `json:"text,omitempty"`  // for Say
	Files     []string  `json:"files,omitempty"` // the names of the files that come with it
}

// More operations of Orders.
const (
	Forget  Operation = "forget"  // close the container's sockets, which another process reads
	Retire  Operation = "retire"  // read what a socket has queued, and close it
	Say     Operation = "say"     // log a message of the watcher's
	Count   Operation = "count"   // return the counts
	Confirm Operation = "confirm" // the hook, which had the container's sockets, has left them to the node
	Reload  Operation = "reload"  // reread the rules of all containers and reopen the files
	Account Operation = "account" // log the counts of all containers
)

// Result is what became of an Order.
type Result struct {
	Number   uint64 `json:"number"` // 0 for a receiver that cannot receive any more
	ID       uint64 `json:"id,omitempty"`
	Error    string `json:"error,omitempty"`
	Received uint64 `json:"received,omitempty"`
	Lost     uint64 `json:"lost,omitempty"`
}

// Take returns what Send sent, and its files. It does not wait: the error is EAGAIN if there is
// nothing yet. what is nil at the connection's end.
func Take[T any](conn int) (what *T, files []handover.File, err error) {
	what = new(T)
	files, err = take(conn, what)
	if files == nil {
		what = nil
	}
	return what, files, err
}

// maxOrder is the longest order, in bytes.
const maxOrder = 128 << 10

// orderText is what TakeOrder reads into: most orders touch one page of it.
var orderText [maxOrder]byte

// SendOrder sends an order. An order without files needs no descriptor at the other end.
func SendOrder(conn int, o Order, files []handover.Passed) error {
	var fds []int
	for _, f := range files {
		o.Files = append(o.Files, f.Name)
		fds = append(fds, int(f.File.Fd()))
	}
	text, err := json.Marshal(o)
	if err == nil && (len(text) > maxOrder || len(files) > handover.MaxFiles) {
		err = unix.EMSGSIZE
	}
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	return unix.Sendmsg(conn, text, rights, nil, unix.MSG_NOSIGNAL)
}

// TakeOrder returns the next order and its files, without waiting: the error is EAGAIN if there is
// none. o is nil at the connection's end. If files are missing, because too many are open, the
// others are closed, and the error comes with the order. Only one goroutine may call it.
func TakeOrder(conn int) (o *Order, files []handover.File, err error) {
	text := orderText[:]
	n, fds, err := rights.Receive(conn, text, handover.MaxFiles)
	if n == 0 {
		return nil, nil, err
	}
	o = &Order{}
	if jerr := json.Unmarshal(text[:n], o); jerr != nil {
		err = errors.Join(err, jerr)
	} else if err == nil && len(fds) != len(o.Files) {
		err = rights.ErrMissing
	}
	if err != nil {
		file.CloseAll(fds)
		return o, nil, fmt.Errorf("cannot read an order: %w", err)
	}
	for i, fd := range fds {
		files = append(files, handover.File{FD: fd, Name: o.Files[i]})
	}
	return o, files, nil
}

// ErrNone means that no node listens here, or that this process may not ask it.
var ErrNone = errors.New("no devlogd.service listens at " + Socket)

// Error is an error that a node reported.
type Error struct{ Text string }

func (e *Error) Error() string { return e.Text }

// callTime is how long an answer may take, on a machine where hundreds of containers start at
// the same time.
const callTime = 20 * time.Second

// Call asks the node and returns its answer. It confirms the answer to Add: then the node knows that
// no other receiver starts. The error is ErrNone without a node, and an *Error if the node reports
// it. If the node ends meanwhile, as in a restart, Call asks the next one, if a service manager
// listens for it.
func Call(q Request, passed ...handover.Passed) (*Answer, error) {
	a, err := call(q, passed)
	if errors.Is(err, errEnded) {
		if next, nerr := call(q, passed); !errors.Is(nerr, ErrNone) {
			return next, nerr
		}
	}
	return a, err
}

// errEnded means that the node ended before the call was complete.
var errEnded = errors.New("it has ended")

func call(q Request, passed []handover.Passed) (*Answer, error) {
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	defer unix.Close(conn)
	if err := Send(conn, q, passed); err != nil {
		return nil, hasEnded(err)
	}
	var a Answer
	if err := handover.Poll(callTime, conn); err != nil {
		return nil, fmt.Errorf("cannot ask devlogd.service: %w", err)
	}
	files, err := take(conn, &a)
	if err == nil && files == nil {
		err = errEnded
	}
	if err != nil {
		return nil, fmt.Errorf("cannot ask devlogd.service: %w", hasEnded(err))
	}
	if a.Error != "" {
		return nil, &Error{a.Error}
	}
	if q.Operation == Add {
		if _, err := unix.Write(conn, []byte{0}); err != nil { // or the node would forget the container
			return nil, fmt.Errorf("cannot confirm the answer of devlogd.service: %w", hasEnded(err))
		}
	}
	return &a, nil
}

// hasEnded returns errEnded for errors of a connection that the other side has closed.
func hasEnded(err error) error {
	if errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		return errEnded
	}
	return err
}

// dial connects to the node.
func dial() (int, error) {
	conn, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = unix.Connect(conn, &unix.SockaddrUnix{Name: Socket})
	if err == nil {
		_, err = handover.SamePeer(conn)
	}
	if err != nil {
		unix.Close(conn)
		return -1, fmt.Errorf("%w: %w", ErrNone, err)
	}
	return conn, nil
}

// Send sends a Request or an Answer, and the files.
func Send(conn int, what any, files []handover.Passed) error {
	text, err := json.Marshal(what)
	if err != nil {
		return err
	}
	memory, err := handover.StateFile(text)
	if err != nil {
		return err
	}
	defer memory.Close()
	return handover.SendFiles(conn, append([]handover.Passed{{File: memory, Name: nameCall}}, files...))
}

// take reads a message into what, and returns its files: nil at the end of the connection. After an
// error no file is open.
func take(conn int, what any) ([]handover.File, error) {
	files, err := handover.ReceiveFiles(conn)
	if err != nil || files == nil {
		return nil, err
	}
	err = unix.EBADMSG
	if files[0].Name == nameCall {
		var text []byte
		if text, err = handover.ReadState(files[0].FD); err == nil {
			err = json.Unmarshal(text, what)
		}
	}
	_ = unix.Close(files[0].FD)
	if files = files[1:]; err == nil {
		return files, nil
	}
	handover.CloseFiles(files)
	return nil, fmt.Errorf("cannot read a call: %w", err)
}
