package nodecall

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"devlog/internal/record"
)

func TestSaved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "containers")
	if all, err := AllSaved(dir); all != nil || err != nil {
		t.Fatalf("%v, %v", all, err)
	}
	one := Saved{Init: record.Process{PID: 7, Started: "70"}, Repair: []byte(`{"socket":"/run/x"}`)}
	for _, number := range []uint64{7, 12, 13} {
		if err := Save(dir, number, one); err != nil {
			t.Fatal(err)
		}
	}
	if err := Unsave(dir, 7); err != nil {
		t.Fatal(err)
	}
	if err := Unsave(dir, 7); err != nil {
		t.Errorf("a second time: %v", err)
	}
	for name, text := range map[string]string{"13": "garbage", "14.new": "{", "notes": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := AllSaved(dir)
	if err == nil || !strings.Contains(err.Error(), "/13: ") {
		t.Errorf("%v", err)
	}
	if want := map[uint64]Saved{12: one}; !reflect.DeepEqual(all, want) {
		t.Errorf("got %+v, want %+v", all, want)
	}
	if err := Save("/proc/none", 1, one); err == nil {
		t.Error("saved in /proc")
	}
}

func FuzzSaved(f *testing.F) {
	f.Add([]byte(`{"init":{"PID":7,"Started":"70"},"repair":{"socket":"/run/x"}}`))
	f.Add([]byte(`{"repair":[1,{}]}`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(savedFile(dir, 1), text, 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := AllSaved(dir)
		if (err == nil) != (len(all) == 1) {
			t.Fatalf("%q: %v, %+v", text, err, all)
		}
		if err != nil {
			return
		}
		again := t.TempDir()
		if err := Save(again, 1, all[1]); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
