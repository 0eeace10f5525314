package timezone

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Times are what libc has them, without tzdata.
func TestRuleZone(t *testing.T) {
	winter, summer := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC), time.Date(2026, 7, 15, 12, 0, 0, 0, time.UTC)
	const layout = "15:04 -0700 MST"
	for _, tt := range []struct{ tz, winter, summer string }{
		{"CET-1CEST,M3.5.0,M10.5.0/3", "13:00 +0100 CET", "14:00 +0200 CEST"},
		{"CET-1CEST", "13:00 +0100 CET", "14:00 +0200 CEST"},
		{"EST5EDT,M3.2.0,M11.1.0", "07:00 -0500 EST", "08:00 -0400 EDT"},
		{"NZST-12NZDT,M9.5.0,M4.1.0/3", "01:00 +1300 NZDT", "00:00 +1200 NZST"},
		{"<+0330>-3:30", "15:30 +0330 +0330", "15:30 +0330 +0330"},
		{"<-03>3", "09:00 -0300 -03", "09:00 -0300 -03"},
		{"JST-9", "21:00 +0900 JST", "21:00 +0900 JST"},
		{"IST-1GMT0,M10.5.0,M3.5.0/1", "12:00 +0000 GMT", "13:00 +0100 IST"},
		{"XXX-1YYY,J60/0,J300/0", "13:00 +0100 XXX", "14:00 +0200 YYY"},
		{"UTC0", "12:00 +0000 UTC", "12:00 +0000 UTC"},
		{"UTC", "12:00 +0000 UTC", "12:00 +0000 UTC"},
		{"No/Such", "12:00 +0000 UTC", "12:00 +0000 UTC"},
		{"CET-1CEST,x", "12:00 +0000 UTC", "12:00 +0000 UTC"},
		{"JST-9\n", "12:00 +0000 UTC", "12:00 +0000 UTC"},
		{"", "12:00 +0000 UTC", "12:00 +0000 UTC"},
	} {
		zone := ofRule(tt.tz)
		if got := winter.In(zone).Format(layout); got != tt.winter {
			t.Errorf("%q: in winter %s, want %s", tt.tz, got, tt.winter)
		}
		if got := summer.In(zone).Format(layout); got != tt.summer {
			t.Errorf("%q: in summer %s, want %s", tt.tz, got, tt.summer)
		}
	}
}

func TestFindZone(t *testing.T) {
	dir := t.TempDir()
	before := Dirs
	Dirs = []string{filepath.Join(dir, "none"), dir}
	defer func() { Dirs = before }()
	for _, name := range []string{"zone", "EST5EDT"} {
		if err := os.WriteFile(filepath.Join(dir, name), zoneFile("XYZ", 2*3600), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "wrong"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for tz, want := range map[string]string{
		"": "UTC", ":": "UTC", "zone": "XYZ", ":zone": "XYZ", dir + "/zone": "XYZ", ":" + dir + "/zone": "XYZ", "EST5EDT": "XYZ", "JST-9": "JST",
		"../etc/zone": "UTC", dir + "/absent": "UTC", "absent": "UTC",
	} {
		zone, err := find(tz, true)
		if err != nil {
			t.Errorf("%q: %v", tz, err)
		} else if name, _ := time.Unix(0, 0).In(zone).Zone(); name != want {
			t.Errorf("%q: %s, want %s", tz, name, want)
		}
	}
	if _, err := find("wrong", true); err == nil {
		t.Error("a wrong file is a zone")
	}
}

// zoneFile is a file of tzfile(5) with one zone.
func zoneFile(name string, offset uint16) []byte {
	data := append([]byte("TZif"), make([]byte, 16)...)
	data = append(data, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, byte(len(name)+1))
	data = append(data, 0, 0, byte(offset>>8), byte(offset), 0, 0)
	return append(data, name+"\x00"...)
}
