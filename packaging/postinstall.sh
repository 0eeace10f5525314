#!/bin/sh
# Runs after the package is installed or upgraded. It enables the socket of the host's
# service, the first time only (dpkg passes "configure" and the version before, rpm the
# number of versions). A running service restarts as the new version; its sockets stay
# open.
set -e
if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers devlog.conf || : # without the user, devlogd.service reads messages as root
elif command -v useradd >/dev/null && ! getent passwd devlog >/dev/null; then
	useradd --system --user-group --no-create-home --home-dir / --shell /usr/sbin/nologin devlog || :
fi
first=
case "${1-}${2-}" in
configure | 1) first=yes ;;
esac
if [ -n "$first" ] && command -v systemctl >/dev/null; then
	systemctl --no-reload enable devlogd.socket || : # also on a system that does not run
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || :
	if systemctl --quiet is-enabled devlogd.socket && ! systemctl --quiet is-active devlogd.service; then
		systemctl start devlogd.socket || :
	fi
	systemctl try-restart devlogd.service || :
fi
