package syslog

// cutStamp removes a time and the blank after it from the front: "Mmm dd hh:mm:ss" (RFC 3164),
// with the month in either case and the day with or without a leading blank or 0, or a time of
// RFC 3339, also without its zone or the zone's colon. It does not check the numbers: the time
// is not used.
func cutStamp(b []byte) (rest []byte, ok bool) {
	end := 0
	switch {
	case len(b) == 0:
	case isDigit(b[0]):
		end = dateTimeEnd(b)
	default:
		end = stampEnd(b)
	}
	if end == 0 || end < len(b) && b[end] != ' ' {
		return b, false
	}
	return b[min(end+1, len(b)):], true
}

const months = "janfebmaraprmayjunjulaugsepoctnovdec"

// stampEnd returns the length of "Mmm dd hh:mm:ss" at the start of b, or 0.
func stampEnd(b []byte) int {
	if len(b) < len("Jan 2 15:04:05") || b[3] != ' ' {
		return 0
	}
	at := 4
	if b[at] == ' ' || isDigit(b[at]) && isDigit(b[at+1]) {
		at++
	}
	end := at + len("2 15:04:05")
	if len(b) < end {
		return 0
	}
	t := b[at:end:end]
	if t[1] != ' ' || t[4] != ':' || t[7] != ':' || !isDigit(t[0]) || !isDigit(t[2]) || !isDigit(t[3]) ||
		!isDigit(t[5]) || !isDigit(t[6]) || !isDigit(t[8]) || !isDigit(t[9]) {
		return 0
	}
	for i := 0; i < len(months); i += 3 {
		if b[0]|0x20 == months[i] && b[1]|0x20 == months[i+1] && b[2]|0x20 == months[i+2] {
			return end
		}
	}
	return 0
}

// dateTimeEnd returns the length of a time of RFC 3339 at the start of b, or 0.
func dateTimeEnd(b []byte) int {
	end := len("2006-01-02T15:04:05")
	if len(b) < end || !looksLike(b[:end], "0000-00-00T00:00:00") {
		return 0
	}
	if end < len(b) && b[end] == '.' {
		for end++; end < len(b) && isDigit(b[end]); end++ {
		}
	}
	for _, zone := range [...]string{"Z", "+00:00", "-00:00", "+0000", "-0000"} {
		if next := end + len(zone); next <= len(b) && looksLike(b[end:next], zone) {
			return next
		}
	}
	return end
}

// looksLike returns whether b has that form. In the form, 0 stands for any digit.
func looksLike(b []byte, form string) bool {
	for i, c := range b {
		if c != form[i] && (form[i] != '0' || !isDigit(c)) {
			return false
		}
	}
	return true
}
