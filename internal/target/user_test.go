package target

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMappedRoot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "uid_map")
	high := uint32(3_000_000_000) // an int of 32 bits has it as the system calls do
	for text, want := range map[string]int{
		"         0          0 4294967295\n": 0,
		"0 3000000000 65536\n":               int(high),
		"0 4294967296 1\n":                   -1,
		"0 100000 65536\n":                   100000,
		"1 200000 10\n0 100000 1\n":          100000,
		"1000 1000 1\n":                      0,
		"":                                   0,
		"garbage\n":                          -1,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := mappedRoot(file)
		if (err != nil) != (want == -1) || err == nil && got != want {
			t.Errorf("mappedRoot of %q = %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestOutsideID(t *testing.T) {
	for _, tt := range []struct {
		text     string
		id, want int
	}{
		{"         0          0 4294967295\n", 0, 0},
		{"         0          0 4294967295\n", 1000, 1000},
		{"0 1000 1\n1 100000 65536\n", 0, 1000},
		{"0 1000 1\n1 100000 65536\n", 33, 100032},
		{"0 1000 1\n", 1, 1}, {"", 7, 7}, {"x y z\n0 1000 1\n", 0, 0}, {"0 1000\n", 0, 0},
	} {
		if got := outsideID(tt.text, tt.id); got != tt.want {
			t.Errorf("%q: %d is %d, want %d", tt.text, tt.id, got, tt.want)
		}
	}
}

func FuzzOutsideID(f *testing.F) {
	f.Add("0 1000 1\n1 100000 65536\n", 0)
	f.Fuzz(func(_ *testing.T, text string, id int) { outsideID(text, id) })
}
