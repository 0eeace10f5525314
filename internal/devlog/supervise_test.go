package devlog

import "testing"

func TestParseUnit(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "",
		"0::/\n":                               "",
		"0::/devlog.slice/devlog-c1.service\n": "devlog-c1.service",
		"9:name=systemd:/lxc/x/devlog.slice/devlog-c1.service\n8:pids:/\n": "devlog-c1.service",
		"0::/system.slice/devlog-c1.service\n":                             "devlog-c1.service",
		"0::/devlog-c1.service\n":                                          "",
		"0::/devlog.slice/other.service\n":                                 "",
		"0::/devlog.slice/devlog-c1.service/sub\n":                         "",
	} {
		if got := parseUnit(text); got != want {
			t.Errorf("parseUnit(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestParseSupervisor(t *testing.T) {
	for text, want := range map[string]Supervisor{"": Unsupervised, "none": Unsupervised, "systemd": Systemd, "auto": AutoSupervised} {
		if got, err := ParseSupervisor(text); got != want || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if _, err := ParseSupervisor("magic"); err == nil {
		t.Error("magic is one")
	}
}

// A service has to be the host's, and in no container.
func TestMaySupervise(t *testing.T) {
	for _, target := range []*Target{{inside: true}, {entered: true}} {
		if err := Systemd.may(target); failsAs(err) == "" {
			t.Errorf("%+v: %v", target, err)
		}
		for _, s := range []Supervisor{Unsupervised, AutoSupervised} {
			if err := s.may(target); err != nil {
				t.Errorf("%s, %+v: %v", s, target, err)
			}
		}
	}
}

// failsAs is the reason of a refusal.
func failsAs(err error) string {
	if r, ok := err.(*Refusal); ok { //nolint:errorlint // it is not wrapped
		return r.Reason
	}
	return ""
}

func TestReceiverInWords(t *testing.T) {
	for want, f := range map[string]ReceiverFacts{
		"": {},
		"devlogd 7, no capabilities; nobody starts it anew if it is killed":                                                  {State: Running, PID: 7, Rights: &Rights{Capabilities: "0"}},
		"devlogd 7; systemd starts it anew if it is killed (u)":                                                              {State: Running, PID: 7, Unit: "u"},
		"not seen from here: on the host, or in another PID namespace":                                                       {State: Elsewhere},
		"has gone: process 7 was killed, and nobody starts it anew; repair starts another":                                   {State: Gone, PID: 7},
		"has gone: systemd has given u up after it was killed many times, or somebody has stopped it; repair starts another": {State: Gone, PID: 7, Unit: "u"},
		"has gone: u said last: it is so; repair starts another":                                                             {State: Gone, PID: 7, Unit: "u", Reason: "it is so"},
	} {
		if got := f.inWords(); got != want {
			t.Errorf("%+v: %q", f, got)
		}
		if alive := f.State == Running || f.State == Elsewhere; f.alive() != alive {
			t.Errorf("%+v: alive = %t", f, f.alive())
		}
	}
}
