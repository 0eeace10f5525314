package intake

import "bytes"

// framing is how the messages of a connection end.
type framing uint8

const (
	anyEnd    framing = iota // not decided yet
	byNUL                    // C libraries, Python and Perl: a newline is part of the text
	byNewline                // most others; a NUL is taken for an end, too
	byLength                 // each says how long it is (RFC 6587, 3.4.1)

	framings = iota
)

// maxDigits is how many digits a message's length can have.
const maxDigits = 7

// framer finds the messages in what a connection sends. The first end decides
// what ends the others: if there is a NUL in what has come so far, that does. A
// connection that begins with a message's length goes on with lengths for as long
// as there are some.
type framer struct {
	framing framing
	skip    bool // up to the next end, for the message has been cut
	left    int  // bytes to pass over, for the message has been cut
}

// code is the framing and what is left as one number, for a program to go on with.
func (f *framer) code() int { return f.left*framings + int(f.framing) }

// decodeFramer is a framer of which code was that number.
func decodeFramer(code int, skip bool) framer {
	code = max(code, 0)
	return framer{framing: framing(code % framings), left: code / framings, skip: skip}
}

// next takes the first message off data, with cut if it was longer than that.
// Without one, data is its beginning. Empty messages are passed over: some
// clients end a message twice.
func (f *framer) next(data []byte) (message, rest []byte, cut, ok bool) {
	for {
		if f.left > 0 {
			n := min(f.left, len(data))
			f.left, data = f.left-n, data[n:]
		}
		if f.framing == byLength { // a newline between two messages is of neither
			data = bytes.TrimLeft(data, "\n\x00")
		}
		if len(data) == 0 {
			return nil, nil, false, false
		}
		if begin, length := f.length(data); length > 0 {
			if most := data[begin:]; len(most) >= min(length, slotSize) {
				n := min(length, slotSize)
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

// length returns the length that stands before a message, "25 <13>...", and where
// that begins; 0 if there is no such thing, -1 if that is not decided yet.
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

// readLength reads "LENGTH <N", and returns LENGTH and where "<N" is; see length.
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

// cut returns what there is of a message whose end is not waited for; what
// follows of it is passed over.
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
