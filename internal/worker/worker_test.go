package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/eventloop"
	"devlog/internal/handover"
	"devlog/internal/nodecall"
	"devlog/internal/syslog"
)

// TestMain lets the test program play the process that reads.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "play" {
		if err := play(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play answers each order with its text and the number of its files. Some texts do more.
func play() error {
	files, err := handover.Inherited()
	if err != nil {
		return err
	}
	fds := map[string]int{}
	for _, f := range files {
		fds[f.Name] = f.FD
	}
	if _, has := fds["memory"]; !has {
		return errors.New("no memory")
	}
	conn := fds[nodecall.NameOrders]
	if err := handover.Report(fds[handover.NameReady], nil); err != nil {
		return err
	}
	for {
		o, passed, err := nodecall.TakeOrder(conn)
		switch {
		case errors.Is(err, unix.EAGAIN):
			if err := handover.Poll(time.Minute, conn); err != nil {
				return err
			}
			continue
		case err != nil || o == nil:
			return err
		case o.Text == "end":
			return nil
		case o.Text == "lose":
			o.Number = 0
		case o.Text == "flood": // until it is killed
			for err == nil {
				err = unix.Send(conn, []byte("{}"), 0)
			}
			return err
		}
		text, err := json.Marshal(nodecall.Result{Number: o.Number, ID: o.ID, Error: o.Text, Received: uint64(len(passed))})
		if err == nil {
			err = unix.Send(conn, text, 0)
		}
		if err != nil {
			return err
		}
	}
}

// bench is a Worker whose loop the test runs.
type bench struct {
	*Worker
	t      *testing.T
	events []string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	loop, err := eventloop.New()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t}
	b.Worker, err = Start(Config{
		Loop: loop, Program: self, Args: []string{"play"}, Files: []handover.Passed{{File: memory, Name: "memory"}},
		Log:      func(syslog.Severity, string) {},
		Replaced: func() { b.event("replaced") },
		Failed:   func(err error) { b.event("failed: " + err.Error()) },
		Ended:    func() { b.event("ended") },
		Lost:     func(id uint64) { b.event(fmt.Sprint("lost ", id)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.kill()
		b.await("ended")
		loop.Close()
		_ = memory.Close()
	})
	return b
}

func (b *bench) event(text string) { b.events = append(b.events, text) }

// say gives an order whose result is an event.
func (b *bench) say(o nodecall.Operation, text string, files ...handover.Passed) {
	b.Order(nodecall.Order{Operation: o, ID: 7, Text: text}, files, func(r nodecall.Result, err error) {
		b.event(fmt.Sprintf("%s %s: %v, %d files", o, text, err, r.Received))
	})
}

// await runs the loop until an event has come.
func (b *bench) await(event string) {
	b.t.Helper()
	for end := time.Now().Add(20 * time.Second); !slices.Contains(b.events, event); {
		if time.Now().After(end) {
			b.t.Fatalf("no %q in %q", event, b.events)
		}
		if err := b.Loop.RunOnce(); err != nil {
			b.t.Fatal(err)
		}
	}
}

func TestOrder(t *testing.T) {
	b := newBench(t)
	if !b.Ready() {
		t.Error("it is not ready")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	b.say(nodecall.Say, "", handover.Passed{File: null, Name: "null"})
	b.await("say : <nil>, 1 files")
	if err := null.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the file is still open: %v", err)
	}
	b.say(nodecall.Say, "wrong")
	b.await("say wrong: wrong, 0 files")
	b.say(nodecall.Say, "lose")
	b.await("lost 7")
	for i := range 3 * maxOrders { // more than may be under way
		b.say(nodecall.Say, fmt.Sprint(i))
	}
	b.await(fmt.Sprintf("say %d: %[1]d, 0 files", 3*maxOrders-1))
}

// An order that the process did not carry out fails. The next process gets the orders that wait,
// but for those that Replaced gives again.
func TestReplace(t *testing.T) {
	b := newBench(t)
	b.say(nodecall.Say, "end")
	b.await("ended")
	if !slices.Contains(b.events, fmt.Sprintf("say end: %v, 0 files", ErrGone)) || b.Ready() {
		t.Errorf("%t, %q", b.Ready(), b.events)
	}
	b.events = nil
	b.say(nodecall.Say, "later")
	b.say(nodecall.Retire, "later")
	b.await("say later: later, 0 files")
	want := []string{"replaced", fmt.Sprintf("retire later: %v, 0 files", ErrGone), "say later: later, 0 files"}
	if !slices.Equal(b.events, want) {
		t.Errorf("%q\nwant\n%q", b.events, want)
	}
}

// A process that was taken over, and sends results without end, does not keep the loop from other work.
func TestResultsWithoutEnd(t *testing.T) {
	b := newBench(t)
	b.say(nodecall.Say, "flood")
	for len(b.events) < 50*maxOrders {
		before := len(b.events)
		if err := b.Loop.RunOnce(); err != nil {
			t.Fatal(err)
		}
		if n := len(b.events) - before; n > maxOrders {
			t.Fatalf("%d results in one round", n)
		}
	}
}

func TestLeave(t *testing.T) {
	b := newBench(t)
	b.Leave(time.Now().Add(20 * time.Second))
	b.await("ended")
}

func TestStartFails(t *testing.T) {
	loop, err := eventloop.New()
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for program, want := range map[string]string{self: "ended before it was ready", "/nowhere": "no such file"} {
		_, err := Start(Config{Loop: loop, Program: program, Args: []string{"play"}}) // without the memory
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", program, err, want)
		}
	}
}
