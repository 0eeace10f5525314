// Package timezone sets the local time zone, and can read it again.
package timezone

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"devlog/internal/file"
)

// Localtime is the zone's file if TZ is not set.
const Localtime = "/etc/localtime"

// maxZone is more than any zone's file has, in bytes.
const maxZone = 1 << 20

// Dirs are where tzdata is.
var Dirs = []string{"/usr/share/zoneinfo", "/etc/zoneinfo"}

// Read sets the local time zone to that of TZ or, without TZ, of /etc/localtime, as tzset(3)
// does. Go itself reads it only once, and does not support rules in TZ (POSIX, "Environment
// Variables"). Without a file or a rule it is UTC.
func Read() error {
	tz, set := os.LookupEnv("TZ")
	zone, err := find(tz, set)
	if err == nil {
		time.Local = zone
	}
	return err
}

func find(tz string, set bool) (*time.Location, error) {
	if !set {
		return read(Localtime)
	}
	name := strings.TrimPrefix(tz, ":")
	switch {
	case name == "":
		return time.UTC, nil
	case filepath.IsAbs(name):
		return read(name)
	case filepath.IsLocal(name):
		for _, dir := range Dirs {
			if zone, err := read(filepath.Join(dir, name)); err != nil || zone != time.UTC {
				return zone, err
			}
		}
	}
	return ofRule(tz), nil
}

// read reads a file of tzfile(5). Without a file it returns UTC.
func read(path string) (*time.Location, error) {
	data, err := file.Read(path, maxZone)
	if errors.Is(err, fs.ErrNotExist) {
		return time.UTC, nil
	}
	if err != nil {
		return nil, err
	}
	return time.LoadLocationFromTZData("Local", data)
}

// ofRule returns the zone of a rule, such as CET-1CEST,M3.5.0,M10.5.0/3; UTC if it is not
// valid. Go supports such rules at the end of a zone's file, so it makes a file with nothing
// else: one change to a zone without a name, long ago (RFC 8536).
func ofRule(rule string) *time.Location {
	const unnamed = "-00"
	header := func(times uint32, zones, chars uint32) []byte {
		h := append([]byte("TZif2"), make([]byte, 15)...)
		for _, n := range []uint32{0, 0, 0, times, zones, chars} {
			h = binary.BigEndian.AppendUint32(h, n)
		}
		return h
	}
	data := append(header(0, 1, 1), 0, 0, 0, 0, 0, 0, 0) // what old programs read: one zone and its name
	data = append(data, header(1, 1, uint32(len(unnamed)+1))...)
	data = binary.BigEndian.AppendUint64(data, 1<<63|1<<62) // the change
	data = append(data, 0)                                  // to the zone
	data = append(data, 0, 0, 0, 0, 0, 0)                   // which has no offset
	data = append(data, unnamed+"\x00\n"+rule+"\n"...)
	zone, err := time.LoadLocationFromTZData("Local", data)
	if err != nil || strings.Contains(rule, "\n") {
		return time.UTC
	}
	if name, _ := time.Unix(0, 0).In(zone).Zone(); name == unnamed {
		return time.UTC
	}
	return zone
}
