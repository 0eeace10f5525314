//go:build soak

package soak

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// loss is an event that may cost messages: at most bound of those that were sent before to and
// not yet written when it began.
type loss struct {
	why      string
	from, to int64
	bound    int
	kept     int   // bytes of buffered lines that may be lost too
	messages []int // the lengths of the lost lines
}

const (
	// maxRead is the most messages that a receiver has read and not yet written.
	maxRead = 512
	// maxOwn is how many of its own messages, about repairs, a receiver may count as lost at
	// one time.
	maxOwn = 2
	// maxBatch is the most messages of a container that a kill of the service may cost besides buffered ones.
	maxBatch = 64
	// maxKept is the most bytes of lines that it buffers while it cannot write.
	maxKept = 1 << 20
)

// maxQueued is the most messages in a socket's queue.
var maxQueued = sync.OnceValue(func() int {
	text, err := os.ReadFile("/proc/sys/net/unix/max_dgram_qlen")
	n, nerr := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || nerr != nil {
		return 512 // the longest queue of a container
	}
	return n + 1
})

// tooMany returns whether the event cost more than it may.
func (l *loss) tooMany() bool {
	if len(l.messages) <= l.bound {
		return false
	}
	sum := 0
	for _, n := range l.messages {
		sum += n
	}
	// Which of them were buffered is not known: assume the shortest.
	longest := slices.Sorted(slices.Values(l.messages))
	for _, n := range longest[len(longest)-l.bound:] {
		sum -= n
	}
	return sum > l.kept
}

// span is a time in which something is wrong.
type span struct{ from, to int64 }

// over returns whether it overlaps one of the spans.
func (a span) over(spans []span) bool {
	return slices.ContainsFunc(spans, func(w span) bool { return a.to >= w.from && a.from <= w.to })
}

// account is what became of the messages of a box's senders.
type account struct {
	sent   int // without an error
	failed int // with an error, for which there was a reason
	leaked int // read by the host, while /dev/log was not repaired
	astray int // maybe read by the host, but not written there
	killed int // lost when a receiver was killed
	upTo   int // reported by the service as lost at most, by kills
	unsaid int // lost for no known reason but the receiver's own count
	wrong  []string
}

func (a *account) add(o account) {
	a.sent += o.sent
	a.failed += o.failed
	a.leaked += o.leaked
	a.astray += o.astray
	a.killed += o.killed
	a.upTo += o.upTo
	a.unsaid += o.unsaid
	a.wrong = append(a.wrong, o.wrong...)
}

// settle returns what became of the box's messages since the last call. It leaves out messages that
// may still arrive: no later one has arrived, and their sender has not ended. If nothing is wrong,
// they are settled; otherwise it may be too early to tell.
func (b *box) settle() account {
	b.log.scan()
	b.log.scanService()
	var sum account
	var unsaid []string
	done := make([]int, len(b.senders))
	cost := map[*loss][]int{}
	for i, x := range b.senders {
		all := x.attempts()
		own, other := b.log.seen[x.id], b.s.host.log.seen[x.id]
		done[i] = max(x.done, min(own.last(), len(all)))
		if x.hasEnded() {
			done[i] = len(all)
		}
		for n := x.done; n < done[i]; n++ {
			a := all[n]
			text := fmt.Sprintf("message %d of %s, %+v", n, x.id, a)
			onHost := b != b.s.host && other.has(n)
			switch leaks := b != b.s.host && b.s.leaks(a); {
			case onHost && !leaks:
				sum.wrong = append(sum.wrong, text+", is in the host's log")
			case onHost && own.has(n):
				sum.wrong = append(sum.wrong, text+", is in two logs")
			case a.errno != 0 && own.has(n):
				sum.wrong = append(sum.wrong, text+", is in the log")
			case a.errno != 0:
				sum.failed++
				if !b.mayFail(a) {
					sum.wrong = append(sum.wrong, text+", could not be sent")
				}
				continue
			case own.has(n):
			case onHost:
				sum.leaked++
			case leaks && b.s.host.lossAt(a):
				sum.astray++
			default:
				if l := b.lossOf(a, nextSeen(all, n, own)); l != nil {
					cost[l] = append(cost[l], len(fmt.Sprintf(soakFormat, b.name, x.id, n))+n%200)
					sum.killed++
				} else {
					sum.unsaid++
					unsaid = append(unsaid, text+", is lost")
				}
			}
			sum.sent++
		}
	}
	// A counted message may also be one with another reason. "Up to" is no count.
	sum.upTo = b.log.upTo - b.upTo
	if counted := b.log.counted - b.counted; sum.unsaid > counted+sum.upTo || counted > sum.unsaid+sum.killed+sum.astray+maxOwn+b.own {
		sum.wrong = append(sum.wrong, fmt.Sprintf("%s: %d messages are lost, %d more with who was killed, %d astray; its receiver has counted %d, and up to %d by kills", b.name, sum.unsaid, sum.killed, sum.astray, counted, sum.upTo))
		sum.wrong = append(sum.wrong, unsaid[:min(5, len(unsaid))]...)
	}
	more := max(0, b.log.counted-b.counted-sum.unsaid) // lost with a receiver, and counted
	for l, messages := range cost {
		with := loss{bound: l.bound + more, kept: l.kept, messages: append(slices.Clone(l.messages), messages...)}
		if with.tooMany() {
			sum.wrong = append(sum.wrong, fmt.Sprintf("%s: %s has cost %d messages, %d and %d bytes at most are allowed", b.name, l.why, len(with.messages), l.bound, l.kept))
		}
	}
	if len(sum.wrong) > 0 {
		return sum
	}
	for i, x := range b.senders {
		x.done = done[i]
	}
	for l, messages := range cost {
		l.messages = append(l.messages, messages[min(more, len(messages)):]...)
	}
	b.counted, b.upTo, b.own = b.log.counted, b.log.upTo, 0
	b.total.add(sum)
	return sum
}

// settle waits until all messages so far are accounted for, without an error.
func (s *soak) settle() {
	s.t.Helper()
	var wrong []string
	if !s.waitFor(func() bool {
		wrong = nil
		for _, b := range s.all() {
			wrong = append(wrong, b.settle().wrong...)
		}
		return len(wrong) == 0
	}) {
		for _, text := range wrong[:min(30, len(wrong))] {
			s.wrong("%s", text)
		}
	}
}

// nextSeen is the first message after number n that was written; nil for none.
func nextSeen(all []attempt, n int, seen numbers) *attempt {
	i, _ := slices.BinarySearch(seen, n+1)
	if i == len(seen) || seen[i] >= len(all) {
		return nil
	}
	return &all[seen[i]]
}

// lossOf is the event that cost a message; nil for none. The message was sent before the event
// ended, and the next written one after it began.
func (b *box) lossOf(a attempt, next *attempt) *loss {
	for _, l := range b.losses {
		if a.sending <= l.to && (next == nil || next.sent >= l.from) {
			return l
		}
	}
	return nil
}

// lossAt returns whether the message was sent during a loss.
func (b *box) lossAt(a attempt) bool {
	return slices.ContainsFunc(b.losses, func(l *loss) bool { return a.sending <= l.to && a.sent >= l.from })
}

// mayFail returns whether there was a reason that the message could not be sent: nobody listened
// in the box, the shared /dev/log was gone, or the service had lost its sockets.
func (b *box) mayFail(a attempt) bool {
	at := span{a.sending, a.sent}
	return at.over(b.downs) || at.over(b.s.spans) || b.served && at.over(b.s.outage.spans)
}

// leaks returns whether the message's connection was made while /dev/log was not
// repaired.
func (s *soak) leaks(a attempt) bool { return span{a.connecting, a.connected}.over(s.spans) }

// repaired returns whether /dev/log is correct.
func (s *soak) repaired() bool {
	now := soakClock()
	return !span{now, now}.over(s.spans)
}
