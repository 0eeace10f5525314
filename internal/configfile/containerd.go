package configfile

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"devlog/internal/usage"
)

// The kinds of configuration that depend on this machine's containerd.
const (
	containerd2 = "containerd"
	containerd1 = "containerd1"
)

// nodeContainerd is the part of a containerd's configuration that matters here
// (containerd-config.toml(5)).
type nodeContainerd struct {
	// version is the version of the file's format: 2 for containerd 1, 3 or more for
	// containerd 2; 0 if containerd did not answer.
	version int
	// imports are patterns of more files to read, as TOML.
	imports string
	// binary is the program that its runtime runc starts; empty for runc in PATH.
	binary string
	// options are that runtime's other options that are not zero, KEY = VALUE each.
	options []string
}

// askTimeout is how long the node's containerd may take to print its configuration.
const askTimeout = 10 * time.Second

// askContainerd has the containerd in PATH print its configuration.
func askContainerd() nodeContainerd {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "containerd", "config", "dump")
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/local/bin:/usr/bin")
	text, err := cmd.Output()
	if err != nil {
		return nodeContainerd{}
	}
	return parseContainerd(string(text))
}

// parseContainerd reads what "containerd config dump" prints: one KEY = VALUE or
// [SECTION] a line.
func parseContainerd(dump string) nodeContainerd {
	var n nodeContainerd
	section := ""
	for line := range strings.Lines(dump) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			section = strings.ReplaceAll(strings.Trim(line, "[]"), "'", `"`)
			continue
		}
		key, value, ok := strings.Cut(line, " = ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		switch section {
		case "":
			switch key {
			case "version":
				n.version, _ = strconv.Atoi(value) // 0: not known
			case "imports":
				n.imports = value
			}
		case `plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options`,
			`plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options`:
			switch zero := value == `""` || value == "''" || value == "0" || value == "false"; {
			case key == "BinaryName":
				n.binary = strings.Trim(value, `"'`)
			case !zero:
				n.options = append(n.options, key+" = "+value)
			}
		}
	}
	return n
}

// with returns the text with the options of the node's own runtime, and advice for the user.
// The error says why this containerd would not read the file.
func (n nodeContainerd) with(kind, text string) (file, advice string, err error) {
	switch {
	case n.version == 0:
		return text, "cannot ask containerd for its configuration; hint: if its runtime runc has options, such as SystemdCgroup = true, add them to the last section", nil
	case kind == containerd2 && n.version < 3:
		return "", "", usage.Errorf("this containerd is version 1 and would not start with this file; hint: use config %s", containerd1)
	case kind == containerd1 && n.version >= 3:
		return "", "", usage.Errorf("this containerd is version 2 and would ignore this file; hint: use config %s", containerd2)
	}
	at := strings.Index(text, "    BinaryName = ")
	end := at + strings.Index(text[at:], "\n") + 1
	own := ""
	for _, option := range n.options {
		own += "    " + option + "\n"
	}
	if kind == containerd2 && !strings.Contains(n.imports, "/conf.d/") {
		advice = `add imports = ["/etc/containerd/conf.d/*.toml"] to the top of /etc/containerd/config.toml`
	}
	if n.binary != "" && !strings.HasSuffix(n.binary, "/devlog-runtime") {
		if advice != "" {
			advice += "; "
		}
		advice += "set DEVLOG_RUNTIME=" + n.binary + " in containerd's environment: it is the runtime that containerd uses now"
	}
	return text[:end] + own + text[end:], advice, nil
}
