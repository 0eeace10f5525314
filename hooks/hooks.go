// Package hooks holds the files by which container runtimes and init systems
// come to run devlog, and those by which log shippers follow its files, as they
// are installed and as devlog-hook prints them.
package hooks

import (
	"embed"
	"fmt"
	"strings"
)

// Dir is where the files take the programs to be.
const Dir = "/usr/libexec/devlog"

// Server stands in the files of log shippers for the server's name.
const Server = "logs.example.com"

//go:embed *.conf *.json *.toml *.yaml *.init *.openrc *.runit *.s6 *.service
var files embed.FS

// Kind is what can be configured to use devlog.
type Kind struct {
	// Name is what a user calls it, Usage says it in a few words.
	Name, Usage string
	// Files are the names of its files.
	Files []string
	// Place says where the files are to be put, if they cannot say it
	// themselves.
	Place string
	// Ships is whether the files have log shippers send to Server; no program of
	// ours is named in them.
	Ships bool
}

// Kinds are all kinds.
var Kinds = []Kind{
	{"lxc", "LXC, to be included in a container's configuration", []string{"devlog.lxc.conf"}, "", false},
	{"lxc-unprivileged", "LXC with a user namespace, the same", []string{"devlog.lxc-unprivileged.conf"}, "", false},
	{"podman", "a hook for podman, for containers with volumes", []string{"devlog.oci.json"},
		"save it as /usr/share/containers/oci/hooks.d/devlog.json", false},
	{"docker", "a runtime for Docker: docker run --runtime devlog", []string{"devlog.docker.json"},
		"save it as /etc/docker/daemon.json, or add it to what is there, and reload dockerd (SIGHUP)", false},
	{"containerd", "a runtime for the CRI plugin of containerd 2", []string{"devlog.containerd.toml"}, "", false},
	{"containerd1", "the same for containerd 1.6 and 1.7", []string{"devlog.containerd1.toml"}, "", false},
	{"cri-o", "a hook for CRI-O, for pods with the annotation devlog.dev/log: on", []string{"devlog.crio.json"},
		"save it as /usr/share/containers/oci/hooks.d/devlog.json", false},
	{"cdi", "a device for podman, Docker, containerd and CRI-O: --device devlog.dev/log=on", []string{"devlog.cdi.json"},
		"save it as /etc/cdi/devlog.json", false},
	{"kubernetes", "a RuntimeClass for Kubernetes", []string{"devlog.kubernetes.yaml"}, "", false},
	{"sysvinit", "init scripts for a host and for a container", []string{"devlog-host.init", "devlog.init"},
		"save devlog-host.init as /etc/init.d/devlog-host on a host, then: update-rc.d devlog-host defaults; devlog.init as /etc/init.d/devlog in a container, then: update-rc.d devlog defaults", false},
	{"openrc", "an OpenRC service for a host", []string{"devlog-host.openrc"}, "", false},
	{"systemd-host", "a systemd service for a host", []string{"devlog-host.service"}, "", false},
	{"s6", "an s6 service that runs the receiver", []string{"devlog.s6"}, "", false},
	{"runit", "a runit service that runs the receiver", []string{"devlog.runit"}, "", false},
	{"rsyslog", "rsyslog sends containers' logs to another rsyslog by RELP", []string{"devlog.rsyslog.conf"}, "", true},
	{"syslog-ng", "syslog-ng sends containers' logs to a log store by HTTP", []string{"devlog.syslog-ng.conf"}, "", true},
	{"fluent-bit", "Fluent Bit sends containers' logs to a Fluentd or Fluent Bit", []string{"devlog.fluent-bit.yaml"}, "", true},
	{"vector", "Vector sends containers' logs to another Vector", []string{"devlog.vector.yaml"}, "", true},
	{"otel", "the OpenTelemetry Collector sends containers' logs by OTLP", []string{"devlog.otel.yaml"}, "", true},
}

// File returns the text of a file for programs in the directory dir.
func File(name, dir string) (string, error) {
	// Each format quotes in its own way what these characters are not part of.
	if strings.ContainsFunc(dir, func(r rune) bool { return !strings.ContainsRune(plain, r) }) {
		return "", fmt.Errorf("print a file for programs in %q: install them in a directory whose name needs no quotes", dir)
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
		return "", fmt.Errorf("cannot print a file for the server %q: give a name or an address, without a port", server)
	}
	text, err := files.ReadFile(name)
	if err != nil {
		return "", err
	}
	return strings.ReplaceAll(string(text), Server, server), nil
}

const plain = "/-._+0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
