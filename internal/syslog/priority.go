// Package syslog owns the message: what a local client of syslog(3) sends, parsed without
// copying, and the line that it becomes.
package syslog

// Facility is the part of the system that sent a message, 0 to 23, as in
// <syslog.h> and RFC 5424, 6.2.1.
type Facility uint8

// Severity is how urgent a message is, 0 (most) to 7, as in <syslog.h> and
// RFC 5424, 6.2.1.
type Severity uint8

// Priority is a facility and a severity in one number: facility*8+severity.
type Priority uint8

// The facilities that this program uses itself.
const (
	Kern   Facility = 0
	User   Facility = 1
	Syslog Facility = 5
)

// NumFacilities is the number of facilities that exist.
const NumFacilities = 24

// The severities.
const (
	Emerg Severity = iota
	Alert
	Crit
	Err
	Warning
	Notice
	Info
	Debug
)

// OnHost returns the severity that a container's message has in the host's logs: Emerg becomes
// Alert. Daemons write Emerg to every terminal of the host (ForwardToWall= in journald.conf(5),
// *.emerg in Debian's rsyslog.conf), and the kernel to the console whatever its log level.
func (s Severity) OnHost() Severity { return max(s, Alert) }

// maxPriority is the highest priority that exists: local7.debug.
const maxPriority = NumFacilities<<3 - 1

// facilityNames are the names of syslog.conf(5). 12 to 15, which <syslog.h> leaves out, have
// RFC 5424's names.
var facilityNames = [NumFacilities]string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news",
	"uucp", "cron", "authpriv", "ftp", "ntp", "audit", "alert", "clock",
	"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

var severityNames = [8]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

// ParseFacility returns the facility with this name in lower case, and whether there is one.
// It knows the names of FreeBSD's and sysklogd's <syslog.h> too: there "security" is 13, not
// auth as it once was in Linux.
func ParseFacility(name string) (Facility, bool) {
	switch name {
	case "security":
		name = "audit"
	case "console":
		name = "alert"
	case "cron_sol", "cron2":
		name = "clock"
	}
	for i, n := range facilityNames {
		if n == name {
			return Facility(i), true
		}
	}
	return 0, false
}

// ParseSeverity returns the severity with this name in lower case, and whether there is one.
// It knows the old names panic, error and warn.
func ParseSeverity(name string) (Severity, bool) {
	switch name {
	case "panic":
		return Emerg, true
	case "error":
		return Err, true
	case "warn":
		return Warning, true
	}
	for i, n := range severityNames {
		if n == name {
			return Severity(i), true
		}
	}
	return 0, false
}

// String returns the facility's name in syslog.conf(5).
func (f Facility) String() string {
	if int(f) < len(facilityNames) {
		return facilityNames[f]
	}
	return "unknown"
}

// String returns the severity's name in syslog.conf(5).
func (s Severity) String() string {
	if int(s) < len(severityNames) {
		return severityNames[s]
	}
	return "unknown"
}

// MakePriority returns the priority of a facility and a severity.
func MakePriority(f Facility, s Severity) Priority { return Priority(f)<<3 | Priority(s&7) }
