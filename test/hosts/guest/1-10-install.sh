# shellcheck shell=bash
# The package is installed, and runtimes are set up as the README says.
want "dpkg -i" dpkg -i current.deb
want "the programs run" devlog-hook --version
want "the service for containers starts with the first of them" systemctl is-active devlogd.socket
want "it has not started" fails systemctl is-active devlogd.service
want "the host is not prepared by that" fails systemctl is-enabled devlog-host.service
mkdir -p /usr/share/containers/oci/hooks.d /etc/docker /etc/devlog-test/own
devlog-hook config podman >/usr/share/containers/oci/hooks.d/devlog.json
devlog-hook config docker >/etc/docker/daemon.json

# The same with a receiver of the container's own, for podman --hooks-dir and docker --runtime.
sed '/"args"/s|"createRuntime"|&, "--receiver", "/usr/libexec/devlog/devlogd"|' \
	/usr/share/containers/oci/hooks.d/devlog.json >/etc/devlog-test/own/devlog.json
printf '#!/bin/sh\nDEVLOG_RECEIVER=/usr/libexec/devlog/devlogd exec /usr/libexec/devlog/devlog-runtime "$@"\n' >/etc/devlog-test/runtime
chmod 755 /etc/devlog-test/runtime
sed -i 's,"runtimes": {,&"own": {"path": "/etc/devlog-test/runtime"}\,,' /etc/docker/daemon.json
systemctl reload docker
ended 5
