#!/bin/bash
# devlog-test.service runs this at each boot of the host: the scenarios of this boot,
# N-*.sh, then a reboot, or the end after the last boot. The first serial port is the
# console, the second one gets a line for each check, the third one everything else.
cd "$(dirname "$0")"
mkdir -p /var/lib/devlog-test
boot=$(($(cat /var/lib/devlog-test/boot 2>/dev/null || echo 0) + 1))
echo "$boot" >/var/lib/devlog-test/boot
. ./settings
systemd-analyze blame 2>&1 | head -n 15 >/dev/ttyS2 # what the boot has cost
for file in "$boot"-*.sh; do
	# End a scenario that hangs: the others can still run.
	timeout $((1800 + ${MESSAGES:-0} / 50)) bash -eu -c '. ./lib.sh; PS4="[\$SECONDS] + "; set -x; . "./$0"' "$file" >/dev/ttyS2 2>&1 </dev/null ||
		echo "FAIL $file ended early, exit code $?" >/dev/ttyS1
done
sync
if compgen -G "$((boot + 1))-*.sh" >/dev/null; then
	systemctl --no-block reboot
else
	systemctl --no-block poweroff --force
fi
