package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// The same lines give the same picture at any time, which is XML whatever they have in them.
func TestDraw(t *testing.T) {
	record := func(clock string) string {
		t.Helper()
		var in, out strings.Builder
		fmt.Fprintf(&in, "\n  A      $ logger '<&\"'\n           %s A root: hello\n\n   LOST: x\n%s\n", clock, strings.Repeat("y", columns+1))
		for i := range rows {
			fmt.Fprintln(&in, "line", i)
		}
		if err := run(strings.NewReader(in.String()), &out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	one := record("Nov 22 01:02:03")
	if other := record("Feb  3 23:59:59"); one != other {
		t.Error("another time gives another picture")
	}
	for _, want := range []string{`<text class="typed" y="17"`, `logger &#39;&lt;&amp;&#34;&#39;</text>`, `class="bad"`, ">line 25</text>", "translateY(-102px)"} {
		if !strings.Contains(one, want) {
			t.Errorf("it lacks %s:\n%s", want, one)
		}
	}
	decoder := xml.NewDecoder(strings.NewReader(one))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
