package syslogconf

import (
	"strings"
	"testing"
	"time"
)

func TestParseRate(t *testing.T) {
	for text, want := range map[string]Rate{
		"1": {1, time.Second}, "100/s": {100, time.Second}, "60/m": {60, time.Minute}, "1000000": {1000000, time.Second},
	} {
		if got, err := ParseRate(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"": "a number of messages from 1", "0": "a number", "-1": "a number", "+1": "a number", "1000001": "a number",
		"x/s": "a number", "1/h": "want N, N/s or N/m", "1/": "want N, N/s or N/m", "1/s/s": "want N, N/s or N/m", "1.5": "a number",
	} {
		if got, err := ParseRate(text); err == nil || !strings.Contains(err.Error(), want) || got != (Rate{}) {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"block", "drop"} {
		if got, err := ParseOverflow(text); err != nil || string(got) != text {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	if _, err := ParseOverflow("Drop"); err == nil || !strings.Contains(err.Error(), "want block or drop") {
		t.Errorf("%v", err)
	}
}

func FuzzParseRate(f *testing.F) {
	f.Add("100/s")
	f.Add("7/m")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRate(text)
		if err != nil {
			return
		}
		if again, err := ParseRate(r.String()); err != nil || again != r || r.N < 1 {
			t.Errorf("%q: %v, then %v, %v", text, r, again, err)
		}
	})
}
