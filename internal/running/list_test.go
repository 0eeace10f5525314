package running

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseArguments(t *testing.T) {
	for text, want := range map[string]Receiver{
		"devlogd": {},
		"":        {},
		"/x/devlogd --name c1 --rule *.*_-/a --rule=*.crit -- /x/devlog-hook auto-repair --socket /run/a": {Name: "c1", Rules: []string{"*.*_-/a", "*.crit"}, Socket: "/run/a"},
		"devlogd --name=c1 --config=/etc/x --metrics-file /m --exit-when-alone --listen /run/b":           {Name: "c1", Config: "/etc/x", Metrics: "/m", Socket: "/run/b"},
		"devlogd --exit-when-alone --name c1":                                                             {Name: "c1"},
		"devlogd --name":                                                                                  {},
	} {
		got, ok := parseArguments([]byte(strings.ReplaceAll(text, " ", "\x00") + "\x00"))
		if !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("parseArguments(%q) = %+v, %t; want %+v", text, got, ok, want)
		}
	}
	if _, ok := parseArguments([]byte("devlogd\x00--name\x00h\x00--\x00devlog-hook\x00heal\x00--host\x00")); ok {
		t.Error("what keeps the host prepared is taken for a container's")
	}
}

func TestParseStarted(t *testing.T) {
	for text, want := range map[string]int{"Name:\tdevlogd\nUid:\t7\t8\t9\t10\n": 7, "Name:\tUid:\t7\n": -1, "Uid:\n": -1, "Uid:\tx\n": -1, "": -1} {
		if got := realUID(text); got != want {
			t.Errorf("realUID(%q) = %d, want %d", text, got, want)
		}
	}
	const mounts = "36 35 98:0 / /a rw - ext4 /dev/x rw\n360 36 0:5 / /b rw shared:1 - tmpfs tmpfs rw\n"
	for id, want := range map[int]bool{36: true, 360: true, 35: false, 3: false, 0: false} {
		if hasMount(mounts, id) != want {
			t.Errorf("has mount %d: %t", id, !want)
		}
	}
}

func TestParseAccount(t *testing.T) {
	for text, want := range map[string]Account{
		"# HELP x\ndevlogd_received_messages_total{name=\"a b\"} 7\n": {7, 0},
		"devlogd_received_messages_total{name=\"c\"} 7\ndevlogd_dropped_messages_total{name=\"c\",reason=\"rate\"} 2\n" +
			"devlogd_output_lost_messages_total{name=\"c\",output=\"/a {b} 9\",reason=\"x\"} 3\ndevlogd_other 4": {7, 5},
	} {
		if got, ok := parseAccount(text); !ok || got != want {
			t.Errorf("parseAccount(%q) = %+v, %t; want %+v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "devlogd_received_messages_total{name=\"c\"} x", "# devlogd_received_messages_total 3",
		"devlogd_dropped_messages_total 18446744073709551615\ndevlogd_dropped_messages_total 1"} {
		if got, ok := parseAccount(text); ok {
			t.Errorf("parseAccount(%q) = %+v", text, got)
		}
	}
}

func FuzzList(f *testing.F) {
	f.Add("devlogd\x00--name\x00a\x00--\x00x", "devlogd_received_messages_total 1")
	f.Fuzz(func(t *testing.T, cmdline, metrics string) {
		if r, ok := parseArguments([]byte(cmdline)); !ok && !strings.Contains(cmdline, "--host") {
			t.Errorf("parseArguments: %+v", r)
		}
		if a, ok := parseAccount(metrics); ok && !strings.Contains(metrics, "devlogd_received_messages_total") {
			t.Errorf("parseAccount: %+v", a)
		}
	})
}
