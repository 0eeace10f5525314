//go:build soak

package test

import (
	"fmt"
	"slices"
)

// loss is an event that may cost messages: those that were sent before to and
// not written when it began, and at most as many as the bound.
type loss struct {
	why      string
	from, to int64
	bound    int
	messages int // that it has cost
}

const (
	// maxLost is what a receiver that is killed may cost: one reading and a full
	// queue.
	maxLost = 512 + 512
	// maxKept is how many messages a receiver keeps at most that it cannot write.
	maxKept = 1 << 20 / len("Jan  1 00:00:00 c sender: c.0 0 .\n")
)

// span is a time in which /dev/log may lead a container to the host's daemon.
type span struct{ from, to int64 }

// account is what became of the messages of a box's senders.
type account struct {
	sent   int // as their senders know
	failed int // the sender knows
	leaked int // to the host, while /dev/log was not repaired
	killed int // with a receiver
	unsaid int // lost, where nothing but the receiver's own count can say why
	wrong  []string
}

func (a *account) add(o account) {
	a.sent += o.sent
	a.failed += o.failed
	a.leaked += o.leaked
	a.killed += o.killed
	a.unsaid += o.unsaid
	a.wrong = append(a.wrong, o.wrong...)
}

// account says what has become of all messages of the box's senders so far.
func (b *box) account() account {
	var sum account
	for _, l := range b.losses {
		l.messages = 0
	}
	var unsaid []string
	for _, x := range b.senders {
		all := x.attempts()
		own, other := b.log.seen[x.id], b.s.host.log.seen[x.id]
		for n, a := range all {
			text := fmt.Sprintf("message %d of %s, %+v", n, x.id, a)
			onHost := b != b.s.host && other.has(n)
			switch leaks := b != b.s.host && b.s.leaks(a); {
			case onHost && !leaks:
				sum.wrong = append(sum.wrong, text+", is in the host's log")
			case onHost && own.has(n):
				sum.wrong = append(sum.wrong, text+", is in two logs")
			case a.errno != 0:
				sum.failed++
				continue
			case own.has(n):
			case onHost, leaks && b.s.host.lossAt(a):
				sum.leaked++
			default:
				if l := b.lossOf(a, nextSeen(all, n, own)); l != nil {
					l.messages++
					sum.killed++
				} else {
					sum.unsaid++
					unsaid = append(unsaid, text+", is lost")
				}
			}
			sum.sent++
		}
	}
	if sum.unsaid > b.log.counted {
		sum.wrong = append(sum.wrong, fmt.Sprintf("%s: %d messages are lost, of which its receiver has counted %d", b.name, sum.unsaid, b.log.counted))
		sum.wrong = append(sum.wrong, unsaid[:min(5, len(unsaid))]...)
	}
	for _, l := range b.losses {
		if l.messages > l.bound {
			sum.wrong = append(sum.wrong, fmt.Sprintf("%s: %s has cost %d messages, %d at most are allowed", b.name, l.why, l.messages, l.bound))
		}
	}
	return sum
}

// nextSeen is the first message behind number n that was written, nil if there
// is none.
func nextSeen(all []attempt, n int, seen numbers) *attempt {
	i, _ := slices.BinarySearch(seen, n+1)
	if i == len(seen) || seen[i] >= len(all) {
		return nil
	}
	return &all[seen[i]]
}

// lossOf is the event that has cost a message, nil if there is none: it was sent
// before the event was over, and what was written next was sent after it had
// begun.
func (b *box) lossOf(a attempt, next *attempt) *loss {
	for _, l := range b.losses {
		if a.sending <= l.to && (next == nil || next.sent >= l.from) {
			return l
		}
	}
	return nil
}

// lossAt says whether the message was sent during a loss.
func (b *box) lossAt(a attempt) bool {
	return slices.ContainsFunc(b.losses, func(l *loss) bool { return a.sending <= l.to && a.sent >= l.from })
}

// leaks says whether the message's connection was made while /dev/log was not
// repaired.
func (s *soak) leaks(a attempt) bool {
	return slices.ContainsFunc(s.spans, func(w span) bool { return a.connected >= w.from && a.connecting <= w.to })
}

// repaired says that /dev/log is what it should be.
func (s *soak) repaired() bool {
	now := soakClock()
	return !slices.ContainsFunc(s.spans, func(w span) bool { return w.to > now })
}
