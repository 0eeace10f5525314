#!/bin/sh
# Runs before the package is removed, not before an upgrade (dpkg passes "remove", rpm
# 0 as the number of versions left). It disables units, which would fail from then on.
# The host stays prepared, and running receivers stay: containers rely on both. Files
# that an administrator has written stay too; a message names them.
set -e
case "${1-}" in
remove | 0) ;;
*) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
	systemctl --no-reload disable --now devlog-host.service || :
	systemctl stop devlogd.socket || :
elif command -v systemctl >/dev/null; then
	systemctl disable devlog-host.service || : # of a system that does not run
fi
# The service runs on: its containers need it. dpkg does not treat an installation after
# a removal as the first one, so it finds the socket as it was.
if [ "$1" = 0 ] && command -v systemctl >/dev/null; then
	systemctl --no-reload disable devlogd.socket || :
fi

left=
if [ -e /dev/.devlog-host ] || [ -L /run/devlog/.devlog-repair ]; then
	left="the prepared host, until reboot (to undo it earlier, install devlog again and run devlog-hook undo --host)"
fi
for file in /etc/containers/oci/hooks.d/*.json /usr/share/containers/oci/hooks.d/*.json /etc/cdi/*.json \
	/etc/docker/daemon.json /etc/containerd/config.toml /etc/containerd/conf.d/*.toml /var/lib/lxc/*/config /etc/init.d/devlog*; do
	if grep -qs -e /libexec/devlog -e /share/devlog/hooks "$file"; then
		left="${left:+$left, }$file"
	fi
done
[ -z "$left" ] || echo "devlog: left in place, because containers may need it: $left" >&2
