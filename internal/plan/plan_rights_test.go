package plan

import (
	"strings"
	"testing"

	"devlog/internal/rootfs"
)

// A user is told to run as root if root would not be refused, and otherwise gets the same
// advice as root.
func TestPlanNotRoot(t *testing.T) {
	denied := func(d DevFacts) DevFacts { d.Unwritable = "permission denied"; return d }
	for _, tt := range []struct {
		name string
		f    Facts
		plan func(Facts, Choice) Plan
		want string
	}{
		{"dev", Facts{Dev: denied(unknown), Log: name(rootfs.Absent, false, Unknown), Socket: noSocket}, New, "/dev cannot be written (permission denied) and nothing may be mounted here; hint: run this as root"},
		{"read-only", Facts{Dev: readOnly, Log: name(rootfs.Absent, false, Shared), Socket: noSocket}, New, "; hint: run devlog-hook on the host, with --pid"},
		{"a file", Facts{Dev: denied(unknown), Log: name(rootfs.Regular, false, Unknown), Socket: noSocket}, New, "/dev cannot be written (permission denied); hint: run this as root"},
		{"unseen", Facts{NotHost: NotSeen, Dev: denied(private), Log: name(rootfs.Socket, true, Private)}, NewHost, NotSeen + "; hint: run this as root"},
		{"a container", Facts{NotHost: "this is a container", Dev: denied(private), Log: name(rootfs.Socket, true, Private)}, NewHost, "this is a container; hint: run this on the host, or with --force if this is it"},
		{"host", Facts{Dev: denied(private), Log: name(rootfs.Socket, true, Private)}, NewHost, "/dev cannot be written (permission denied); hint: run this as root"},
	} {
		tt.f.Inside, tt.f.NotRoot, tt.f.HostSocket = true, true, hostSocket(false, false)
		c := Choice{Strategy: Auto}
		if p := Advised(tt.plan(tt.f, c), tt.plan(tt.f.ToRoot(), c)); p.Verdict != Refused || !strings.HasSuffix(p.String(), tt.want) {
			t.Errorf("%s: %s, want %s", tt.name, p, tt.want)
		}
	}
}
