package intake

import (
	"bytes"

	"devlog/internal/batch"
)

// framing is how the messages of a connection are separated.
type framing uint8

const (
	anyEnd    framing = iota // not decided yet
	byNUL                    // C libraries, Python and Perl: a newline is part of the text
	byNewline                // most others; a NUL also ends a message
	byLength                 // each begins with its length (RFC 6587, 3.4.1)

	framings = iota
)

// maxDigits is the most digits of a message's length.
const maxDigits = 7

// framer splits the data of a connection into messages. The first data decides how: if it has
// a NUL, NULs end messages. A connection that begins with a message's length is read by lengths
// until one is missing.
type framer struct {
	framing framing
	skip    bool // skip up to the next end: the message was cut
	left    int  // bytes to skip: the message was cut
}

// code returns the framing and the bytes to skip as one number, for the next program.
func (f *framer) code() int { return f.left*framings + int(f.framing) }

// decodeFramer returns the framer with that code.
func decodeFramer(code int, skip bool) framer {
	code = max(code, 0)
	return framer{framing: framing(code % framings), left: code / framings, skip: skip}
}

// next removes the first message from data. cut says that the message was longer. If ok is
// false, data is the beginning of a message. It ignores empty messages, because some clients
// end a message twice.
func (f *framer) next(data []byte) (message, rest []byte, cut, ok bool) {
	for {
		if f.left > 0 {
			n := min(f.left, len(data))
			f.left, data = f.left-n, data[n:]
		}
		if f.framing == byLength { // a newline between messages belongs to neither
			data = bytes.TrimLeft(data, "\n\x00")
		}
		if len(data) == 0 {
			return nil, nil, false, false
		}
		if begin, length := f.length(data); length > 0 {
			if most := data[begin:]; len(most) >= min(length, batch.SlotSize) {
				n := min(length, batch.SlotSize)
				f.left = length - n
				return most[:n], most[n:], f.left > 0, true
			}
			return nil, data, false, false
		} else if length < 0 {
			return nil, data, false, false
		}
		end := f.end(data)
		switch {
		case end < 0 && f.skip:
			return nil, nil, false, false
		case end < 0 && len(data) >= batch.SlotSize:
			f.skip = true
			return data[:batch.SlotSize], nil, true, true
		case end < 0:
			return nil, data, false, false
		}
		message, data = data[:end], data[end+1:]
		if f.skip {
			f.skip = false
			continue
		}
		if len(message) > batch.SlotSize {
			return message[:batch.SlotSize], data, true, true
		}
		if len(bytes.Trim(message, "\n\x00")) > 0 {
			return message, data, false, true
		}
	}
}

// length returns the length before a message, as in "25 <13>...", and where the message
// begins; 0 if there is no length, -1 if more data is needed.
func (f *framer) length(data []byte) (begin, length int) {
	if f.skip || f.framing != anyEnd && f.framing != byLength {
		return 0, 0
	}
	length, begin = readLength(data)
	switch {
	case length > 0:
		f.framing = byLength
	case length == 0 && f.framing == byLength:
		f.framing = anyEnd
	}
	return begin, length
}

// readLength reads "LENGTH <N". It returns LENGTH and the offset of "<N"; see length.
func readLength(data []byte) (length, begin int) {
	isDigit := func(at int) bool { return data[at] >= '0' && data[at] <= '9' }
	at := 0
	for ; at < len(data) && at < maxDigits && isDigit(at); at++ {
		length = length*10 + int(data[at]-'0')
	}
	begin = at + len(" ")
	switch {
	case at == len(data):
		return -1, 0
	case at == 0, data[0] == '0', length < len("<0>"), data[at] != ' ':
		return 0, 0
	case begin == len(data):
		return -1, 0
	case data[begin] != '<':
		return 0, 0
	case begin+1 == len(data):
		return -1, 0
	case !isDigit(begin + 1):
		return 0, 0
	}
	return length, begin
}

// cut returns the beginning of a message without waiting for its end. The rest of the message
// is skipped.
func (f *framer) cut(data []byte) []byte {
	if begin, length := f.length(data); length > 0 {
		f.left = length - len(data[begin:])
		return data[begin:]
	}
	f.skip = true
	return data
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
