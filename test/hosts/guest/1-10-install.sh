# shellcheck shell=bash
# The package is installed, and runtimes are set up as the README says.
want "dpkg -i" dpkg -i current.deb
want "the programs run" devlog-hook --version
want "nothing is started or enabled by that" fails systemctl is-enabled devlog-host.service
mkdir -p /usr/share/containers/oci/hooks.d /etc/docker /etc/devlog-test/supervised
devlog-hook config podman >/usr/share/containers/oci/hooks.d/devlog.json
devlog-hook config docker >/etc/docker/daemon.json

# The same with --supervise systemd, for podman --hooks-dir and docker --runtime.
sed 's/"createRuntime"\]/"createRuntime", "--supervise", "systemd"]/' /usr/share/containers/oci/hooks.d/devlog.json |
	sed '/"stages"/s/, "--supervise", "systemd"//' >/etc/devlog-test/supervised/devlog.json
printf '#!/bin/sh\nDEVLOG_SUPERVISE=systemd exec /usr/libexec/devlog/devlog-runtime "$@"\n' >/etc/devlog-test/runtime
chmod 755 /etc/devlog-test/runtime
sed -i 's,"runtimes": {,&"supervised": {"path": "/etc/devlog-test/runtime"}\,,' /etc/docker/daemon.json
systemctl reload docker
ended 3
