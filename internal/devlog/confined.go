package devlog

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"devlog/internal/rootfs"
	"devlog/internal/sandbox"
)

// ReceiverFacts are what there is to know of a receiver that runs.
type ReceiverFacts struct {
	PID int `json:"pid"`
	// NoNewPrivs and Capabilities are as in proc_pid_status(5).
	NoNewPrivs   bool   `json:"no_new_privs"`
	Capabilities string `json:"capabilities"`
	// Confined is how it is confined, as it says itself; empty if it says
	// nothing: it is of an earlier version, or has not come to that.
	Confined string `json:"confined,omitempty"`
	// Landlock is the version of the kernel's Landlock; 0 is none.
	Landlock int `json:"landlock"`
}

// markPrefix begins the name of the file in memory by which a receiver says how
// it is confined.
const markPrefix = "/memfd:devlogd: "

// receiver finds the target's receiver, by the record beside one of the sockets;
// nil if there is none that is seen from here.
func (t *Target) receiver(sockets ...string) *ReceiverFacts {
	for _, socket := range sockets {
		if socket == "" {
			continue
		}
		d, err := t.root.Dir(path.Dir(socket))
		if err != nil {
			continue
		}
		r := readRecord(d)
		var pid int
		if pidfd := r.process(d); pidfd != nil && r.MountNS == t.mountNS {
			pid = r.Receiver
			pidfd.Close()
		}
		d.Close()
		if pid != 0 {
			return receiverFacts(pid)
		}
	}
	return nil
}

func receiverFacts(pid int) *ReceiverFacts {
	f := &ReceiverFacts{PID: pid, Landlock: sandbox.ABI()}
	proc := "/proc/" + strconv.Itoa(pid)
	text, err := os.ReadFile(proc + "/status")
	if err != nil {
		return nil // it has ended
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		switch key {
		case "NoNewPrivs":
			f.NoNewPrivs = value == "1"
		case "CapEff":
			f.Capabilities = value
		}
	}
	fds, err := filepath.Glob(proc + "/fd/*")
	if err != nil {
		return f
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, markPrefix) {
			f.Confined = strings.TrimSuffix(strings.TrimPrefix(to, markPrefix), " (deleted)")
		}
	}
	return f
}

// inWords says which receiver it is and how it is confined.
func (f *ReceiverFacts) inWords() string {
	words := fmt.Sprintf("devlogd %d, ", f.PID)
	switch caps, err := strconv.ParseUint(f.Capabilities, 16, 64); {
	case f.Confined != "":
		return words + f.Confined
	case f.NoNewPrivs:
		return words + "no new privileges"
	case err == nil && caps == 0:
		return words + "no capabilities"
	}
	return words + "not confined"
}

// addReceiver adds the receiver to what was found out.
func (t *Target) addReceiver(f *Facts) {
	_ = rootfs.AsSelf(func() error { // the container's root does not see it
		f.Receiver = t.receiver(f.Log.Leads.Path, f.Socket.Path)
		return nil
	})
}
