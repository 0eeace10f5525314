package receiver

import "bytes"

// framing is how the messages of a connection end.
type framing uint8

const (
	anyEnd    framing = iota // not decided yet
	byNUL                    // C libraries, Python and Perl: a newline is part of the text
	byNewline                // most others; a NUL is taken for an end, too
)

// framer finds the messages in what a connection sends. The first end decides
// what ends the others: if there is a NUL in what has come so far, that does.
type framer struct {
	framing framing
	skip    bool // up to the next end, for the message has been cut
}

// next takes the first message off data, with cut if it was longer than that.
// Without one, data is its beginning. Empty messages are passed over: some
// clients end a message twice.
func (f *framer) next(data []byte) (message, rest []byte, cut, ok bool) {
	for {
		end := f.end(data)
		switch {
		case end < 0 && f.skip:
			return nil, nil, false, false
		case end < 0 && len(data) >= slotSize:
			f.skip = true
			return data[:slotSize], nil, true, true
		case end < 0:
			return nil, data, false, false
		}
		message, data = data[:end], data[end+1:]
		if f.skip {
			f.skip = false
			continue
		}
		if len(message) > slotSize {
			return message[:slotSize], data, true, true
		}
		if len(bytes.Trim(message, "\n\x00")) > 0 {
			return message, data, false, true
		}
	}
}

// end returns the index of the byte that ends the first message, or -1.
func (f *framer) end(data []byte) int {
	if f.framing != byNewline {
		end := bytes.IndexByte(data, 0)
		if end >= 0 {
			f.framing = byNUL
		}
		if f.framing == byNUL {
			return end
		}
	}
	if end := bytes.IndexByte(data, '\n'); end >= 0 {
		f.framing = byNewline
		if i := bytes.IndexByte(data[:end], 0); i >= 0 {
			return i
		}
		return end
	}
	if f.framing == byNewline {
		return bytes.IndexByte(data, 0)
	}
	return -1
}
