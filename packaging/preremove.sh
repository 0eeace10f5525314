#!/bin/sh
# Before the package goes, not before an upgrade (dpkg says "remove", rpm says
# that 0 versions stay): a unit that was enabled would fail from then on. The
# host stays prepared, and receivers that run stay: containers rely on both.
set -e
case "${1-}" in
remove | 0) ;;
*) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
	systemctl --no-reload disable --now devlog-host.path || :
elif command -v systemctl >/dev/null; then
	systemctl disable devlog-host.path || : # of a system that does not run
fi
