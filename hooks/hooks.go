// Package hooks holds the files that make container runtimes and init systems run
// devlog, and log shippers follow its logs. They are installed, and printed by
// devlog-hook.
package hooks

import (
	"embed"
	"fmt"
	"strings"
)

// Dir is where the files expect the programs.
const Dir = "/usr/libexec/devlog"

// Server stands for the server's name in the files of log shippers.
const Server = "logs.example.com"

//go:embed *.conf *.json *.toml *.yaml *.init *.openrc *.runit *.s6 *.service *.socket
var files embed.FS

// Kind is a kind of program that can be configured to use devlog.
type Kind struct {
	// Name is what users type, and Usage describes it in a few words.
	Name, Usage string
	// Files are the names of its files.
	Files []string
	// ForAll is the file, in place of Files, that acts on all containers and not only on
	// those that ask for it; empty if there is no difference.
	ForAll string
	// Place is where to save the files, if they do not say so themselves.
	Place string
	// Ships says that the files are for log shippers, which send to Server. They name no
	// program of devlog.
	Ships bool
}

// hooksD says where podman and CRI-O look for hooks (oci-hooks(5)).
const hooksD = "save it as /usr/share/containers/oci/hooks.d/devlog.json"

// Kinds are all kinds.
var Kinds = []Kind{
	{Name: "lxc", Usage: "a file to include in an LXC container's configuration", Files: []string{"devlog.lxc.conf"}},
	{Name: "lxc-unprivileged", Usage: "the same for LXC with a user namespace", Files: []string{"devlog.lxc-unprivileged.conf"}},
	{Name: "podman", Usage: "a hook for podman: podman run --annotation devlog.dev/log=on", Files: []string{"devlog.oci.json"},
		ForAll: "devlog.oci-all.json", Place: hooksD},
	{Name: "docker", Usage: "a runtime for Docker: docker run --runtime devlog", Files: []string{"devlog.docker.json"},
		Place: "save it as /etc/docker/daemon.json, or add it to what is there, and reload dockerd (SIGHUP)"},
	{Name: "containerd", Usage: "a runtime for the CRI plugin of containerd 2", Files: []string{"devlog.containerd.toml"}},
	{Name: "containerd1", Usage: "the same for containerd 1.6 and 1.7", Files: []string{"devlog.containerd1.toml"}},
	{Name: "cri-o", Usage: "a hook for CRI-O, for pods with the annotation devlog.dev/log: on", Files: []string{"devlog.oci.json"}, Place: hooksD},
	{Name: "cdi", Usage: "a device for podman, Docker, containerd and CRI-O: --device devlog.dev/log=on", Files: []string{"devlog.cdi.json"},
		Place: "save it as /etc/cdi/devlog.json"},
	{Name: "kubernetes", Usage: "a RuntimeClass for Kubernetes", Files: []string{"devlog.kubernetes.yaml"}},
	{Name: "sysvinit", Usage: "init scripts for a host and for a container", Files: []string{"devlog-host.init", "devlogd.init", "devlog.init"},
		Place: "save devlogd.init as /etc/init.d/devlogd on a host, then: update-rc.d devlogd defaults; devlog-host.init as /etc/init.d/devlog-host on a host, then: update-rc.d devlog-host defaults; devlog.init as /etc/init.d/devlog in a container, then: update-rc.d devlog defaults"},
	{Name: "openrc", Usage: "OpenRC services for a host", Files: []string{"devlog-host.openrc", "devlogd.openrc"},
		Place: "save devlogd.openrc as /etc/init.d/devlogd and devlog-host.openrc as /etc/init.d/devlog-host, both with mode 755, then: rc-update add devlogd default"},
	{Name: "systemd", Usage: "systemd units of the service that receives for all containers of a host", Files: []string{"devlogd.service", "devlogd.socket"},
		Place: "save both in /etc/systemd/system, then: systemctl enable --now devlogd.socket"},
	{Name: "systemd-host", Usage: "a systemd service that prepares a host and keeps it prepared", Files: []string{"devlog-host.service"}},
	{Name: "s6", Usage: "an s6 service that runs the receiver", Files: []string{"devlog.s6"}},
	{Name: "runit", Usage: "a runit service that runs the receiver", Files: []string{"devlog.runit"}},
	{Name: "rsyslog", Usage: "a file for rsyslog, which sends containers' logs to another rsyslog by RELP", Files: []string{"devlog.rsyslog.conf"}, Ships: true},
	{Name: "syslog-ng", Usage: "a file for syslog-ng, which sends containers' logs to a log store by HTTP", Files: []string{"devlog.syslog-ng.conf"}, Ships: true},
	{Name: "fluent-bit", Usage: "a file for Fluent Bit, which sends containers' logs to a Fluentd or Fluent Bit", Files: []string{"devlog.fluent-bit.yaml"}, Ships: true},
	{Name: "vector", Usage: "a file for Vector, which sends containers' logs to another Vector", Files: []string{"devlog.vector.yaml"}, Ships: true},
	{Name: "otel", Usage: "a file for the OpenTelemetry Collector, which sends containers' logs by OTLP", Files: []string{"devlog.otel.yaml"}, Ships: true},
}

// File returns the text of a file for programs in the directory dir.
func File(name, dir string) (string, error) {
	// Each format quotes other characters in its own way.
	if strings.ContainsFunc(dir, func(r rune) bool { return !strings.ContainsRune(plain, r) }) {
		return "", fmt.Errorf("cannot print a file for programs in %q; hint: install them in a directory whose name needs no quotes", dir)
	}
	text, err := files.ReadFile(name)
	if err != nil {
		return "", err
	}
	return strings.ReplaceAll(string(text), Dir, dir), nil
}

// FileFor returns the text of a log shipper's file that sends to the server: a
// host's name, or an address, in brackets if it is of IPv6.
func FileFor(name, server string) (string, error) {
	if server == "" || strings.ContainsFunc(server, func(r rune) bool { return !strings.ContainsRune(plain+"[]:", r) || r == '/' }) {
		return "", fmt.Errorf("cannot print a file for the server %q; hint: give a name or an address, without a port", server)
	}
	text, err := files.ReadFile(name)
	if err != nil {
		return "", err
	}
	return strings.ReplaceAll(string(text), Server, server), nil
}

const plain = "/-._+0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
