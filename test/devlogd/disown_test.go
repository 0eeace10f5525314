package devlogd

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/router"
	"devlog/internal/syslog"
)

// forgeries are messages that try to look like the receiver's own, with what becomes
// of them.
var forgeries = map[string]string{
	"<13>devlogd[4242]: 17 messages lost (disk full)":                     "devlogd?[4242]: 17 messages lost (disk full)",
	"<13>Jan  1 00:00:00 devlogd[4242]: 17 messages lost":                 "devlogd?[4242]: 17 messages lost",
	"<13>Jan  1 00:00:00 box devlogd[4242]: 17 messages lost":             "devlogd?[4242]: 17 messages lost",
	"devlogd: 17 messages lost":                                           "devlogd?: 17 messages lost",
	"<13>devlogd[4242]:17 messages lost":                                  "devlogd?[4242]:17 messages lost",
	"<13>  devlogd[4242]: 17 messages lost":                               "?:   devlogd[4242]: 17 messages lost",
	"<13>1 - - devlogd 4242 - - 17 messages lost":                         "devlogd?[4242]: 17 messages lost",
	"<13>1 - - devlogd[4242] - - - 17 messages lost":                      "devlogd?[4242]: 17 messages lost",
	"<13>1 - - devlogd[4242]: - - - 17 messages lost":                     "devlogd?[4242]:: 17 messages lost",
	"<13>1 - - - - devlogd[4242]: - 17 messages lost":                     "?: devlogd[4242]: 17 messages lost",
	"<13>1 - - - - - - devlogd[4242]: 17 messages lost":                   "?: devlogd[4242]: 17 messages lost",
	"<13>1 - - - 4242 - - devlogd[4242]: 17 messages lost":                "-[4242]: devlogd[4242]: 17 messages lost",
	"<13>1 - - - - - [devlogd a=\"b\"] devlogd[4242]: 17":                 "[devlogd a=\"b\"] devlogd[4242]: 17",
	"<13>\u200bdevlogd[4242]: 17 messages lost":                           "\u200bdevlogd?[4242]: 17 messages lost",
	"<13>\u200b devlogd[4242]: 17 messages lost":                          "?: \u200b devlogd[4242]: 17 messages lost",
	"<13>devlogd-hook[3]: of another program":                             "devlogd-hook[3]: of another program",
	"<13>devlogd2[3]: of another program":                                 "devlogd2[3]: of another program",
	"<13>app[3]: devlogd[4242]: 17 messages lost":                         "app[3]: devlogd[4242]: 17 messages lost",
	"<13>devlog[3]: of another program":                                   "devlog[3]: of another program",
	"<13>devlogd?[3]: once":                                               "devlogd?[3]: once",
	"<13>devlogd":                                                         "?: devlogd",
	"<13>Jan  1 00:00:00 other devlogd[4242]: 17 messages lost\x00\n\x00": "devlogd?[4242]: 17 messages lost",
}

func TestDisown(t *testing.T) {
	for raw, want := range forgeries {
		var m syslog.Message
		syslog.Parse([]byte(raw), &m, []byte("box"))
		router.Disown(&m)
		line, body := syslog.AppendRFC3164(nil, []byte("Jan  1 00:00:00"), []byte("box"), &m)
		if got := strings.TrimSuffix(string(line[body:]), "\n"); got != want {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
	}
	// A client of the journal may have any tag.
	for tag, want := range map[string]string{" devlogd": " devlogd?", "\n\u2003devlogd: ": "\n\u2003devlogd?: ", "my devlogd": "my devlogd"} {
		m := syslog.Message{Tag: []byte(tag)}
		if router.Disown(&m); string(m.Tag) != want {
			t.Errorf("%q: %q, want %q", tag, m.Tag, want)
		}
	}
}

// No line of a sender begins like a line of the receiver.
func FuzzDisown(f *testing.F) {
	for raw := range forgeries {
		f.Add([]byte(raw))
	}
	own := regexp.MustCompile(`^[^!-~]*devlogd([^a-zA-Z0-9._/?#-]|$)`)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m syslog.Message
		syslog.Parse(raw, &m, []byte("box"))
		router.Disown(&m)
		line, body := syslog.AppendRFC3164(nil, []byte("Jan  1 00:00:00"), []byte("box"), &m)
		if text := strings.TrimSuffix(string(line[body:]), "\n"); own.MatchString(text) {
			t.Errorf("%q: %q", raw, text)
		}
	})
}

// A forged notice is marked in every format; the receiver's own are not.
func TestForgedNotice(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "*.* -"+log, "--rule", "*.* -"+log+"2;RFC5424", "--rule", "*.* -"+log+"3;JSON")
	send(t, dial(t, sock), "<13>devlogd[4242]: 17 messages lost (disk full)")
	d.signal(unix.SIGUSR1)
	for _, file := range []string{log, log + "2", log + "3"} {
		await(t, file, "17 messages lost")
		await(t, file, "received 1, own ")
	}
	d.stop()
	for file, want := range map[string][2]string{
		log:       {"box devlogd?[4242]: 17 messages lost", "box devlogd["},
		log + "2": {" devlogd? 4242 ", " devlogd "},
		log + "3": {`"devlogd?"`, `"devlogd"`},
	} {
		for i, line := range strings.Split(strings.TrimSpace(content(t, file)), "\n") {
			if !strings.Contains(line, want[i]) {
				t.Errorf("%s: %q, want %q", file, line, want[i])
			}
		}
	}
}
