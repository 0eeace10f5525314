package launch

import (
	"testing"

	"devlog/internal/plan"
	"devlog/internal/target"
)

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

// A receiver in a container cannot be a service of the host.
func TestMaySupervise(t *testing.T) {
	for _, target := range []*target.Target{{Inside: true}, {Entered: true}} {
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

// failsAs returns the reason of a refusal.
func failsAs(err error) string {
	if r, ok := err.(*plan.Refusal); ok { //nolint:errorlint // it is not wrapped
		return r.Reason
	}
	return ""
}
