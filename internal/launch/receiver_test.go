package launch

import (
	"strings"
	"testing"

	"devlog/internal/syslogconf"
)

// A container's receiver on the host writes to a directory in which no link is followed.
func TestMessagesFile(t *testing.T) {
	if file := MessagesFile(false, "c1"); !strings.HasPrefix(file, syslogconf.LogsDir+"/c1/") {
		t.Errorf("messages go to %s, which is not below %s", file, syslogconf.LogsDir)
	}
}
