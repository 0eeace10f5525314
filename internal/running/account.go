package running

import (
	"math"
	"strconv"
	"strings"

	"devlog/internal/file"
)

// Account is a receiver's counts of messages.
type Account struct {
	// Received are the messages that it read, and Lost those that it could not write anywhere.
	Received, Lost uint64
}

// maxMetrics is the most that is read of a metrics file, in bytes.
const maxMetrics = 1 << 20

// ReadAccount returns the counts in the metrics file. ok is false if it has none.
func ReadAccount(metrics string) (a Account, ok bool) {
	text, err := file.Read(metrics, maxMetrics)
	if err != nil {
		return Account{}, false
	}
	return parseAccount(string(text))
}

// parseAccount reads metrics in Prometheus' text format.
func parseAccount(text string) (a Account, ok bool) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		at := strings.LastIndexByte(line, ' ')
		name, _, _ := strings.Cut(line, "{")
		if at < 0 || strings.HasPrefix(line, "#") {
			continue
		}
		n, err := strconv.ParseUint(line[at+1:], 10, 64)
		if err != nil {
			continue
		}
		switch name {
		case "devlogd_received_messages_total":
			a.Received, ok = n, true
		case "devlogd_dropped_messages_total", "devlogd_output_lost_messages_total", "devlogd_kernel_lost_records_total":
			if a.Lost > math.MaxUint64-n {
				return Account{}, false
			}
			a.Lost += n
		}
	}
	return a, ok
}
