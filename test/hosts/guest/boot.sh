#!/bin/bash
# What devlog-test.service runs in the host at each of its boots: the scenarios of
# this boot, N-*.sh, then a reboot, or the end after the last one. The first serial
# port is the console, the second one has a line a check, the third one all else.
cd "$(dirname "$0")"
mkdir -p /var/lib/devlog-test
boot=$(($(cat /var/lib/devlog-test/boot 2>/dev/null || echo 0) + 1))
echo "$boot" >/var/lib/devlog-test/boot
. ./settings
systemd-analyze blame 2>&1 | head -n 15 >/dev/ttyS2 # what the boot has cost
for file in "$boot"-*.sh; do
	# One that hangs is over after a while: the others are still of use.
	timeout $((900 + ${MESSAGES:-0} / 50)) bash -eu -c '. ./lib.sh; PS4="[\$SECONDS] + "; set -x; . "./$0"' "$file" >/dev/ttyS2 2>&1 </dev/null ||
		echo "FAIL $file ended early, exit code $?" >/dev/ttyS1
done
sync
if compgen -G "$((boot + 1))-*.sh" >/dev/null; then
	systemctl --no-block reboot
else
	systemctl --no-block poweroff --force
fi
