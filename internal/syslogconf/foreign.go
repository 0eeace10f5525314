package syslogconf

import "strings"

// The words with which a line, or an action, of another daemon's configuration begins. People
// bring such files, and need a better error than "expected a selector".

// foreign is a list of such words, and the error about a line that begins with one.
type foreign struct {
	words string // separated by blanks; a word that ends in a letter must be a whole word
	why   string
}

const asRule = ": write the rule as syslog.conf(5) has it"

var foreignLines = []foreign{
	{"$", "rsyslog's directives (%) are not supported: remove the line"},
	{"& &~", "'&', which repeats rsyslog's last filter, is not supported: write the filter again"},
	{"include(", "rsyslog's include(...) is not supported: use include PATTERN, such as include " + DefaultConfigs},
	{
		"module( input( action( template( ruleset( global( main_queue( parser( timezone( lookup_table( if else set unset reset call foreach { }",
		"rsyslog's scripts (%) are not supported" + asRule,
	},
	{"ifdef( ifelse( define( undefine( divert( changequote( dnl )", macros},
	{"@version: @include @define source destination filter log options rewrite template", "this is a line of syslog-ng's configuration (%), which is not supported" + asRule},
}

const macros = "macros of m4 (%), which Solaris's syslogd expands, are not supported: write the line that they stand for"

// instead lists the possible actions.
const instead = "use the absolute path of a file, |PATH, " + KernelLog + ", stdout, container-stdout, journal or syslog"

var foreignActions = []foreign{
	{"@", "sending to a remote host (%) is not supported: " + instead},
	{"~ stop", "discarding messages (%) is not supported: exclude them from the other rules"},
	{"?", "rsyslog's file names from a template (%, a DynFile) are not supported: name one file in each rule"},
	{"^ exec |exec", "running a program for each message (%) is not supported: use |PATH of a FIFO that the program reads"},
	{":om", "rsyslog's output modules (%) are not supported: " + instead},
	{"action( call { }", "rsyslog's scripts (%) are not supported" + asRule},
	{">", "writing to a database (%) is not supported: " + instead},
	{"ifdef( ifelse(", macros},
}

// notSelector returns why a text that should begin with a selector does not; "" if not known.
func notSelector(text string) string { return say(foreignLines, text) }

// notAction returns why a text is not an action; "" if not known.
func notAction(text string) string { return say(foreignActions, text) }

func say(list []foreign, text string) string {
	first, _, _ := strings.Cut(text, " ")
	first, _, _ = strings.Cut(first, "\t")
	for _, f := range list {
		for word := range strings.FieldsSeq(f.words) {
			if c := word[len(word)-1]; first == word || strings.HasPrefix(first, word) && (c < 'a' || c > 'z' || word == ":om") {
				return strings.Replace(f.why, "%", first, 1)
			}
		}
	}
	return ""
}
