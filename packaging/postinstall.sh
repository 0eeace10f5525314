#!/bin/sh
# After the package is installed or upgraded: the service of the host, if it runs,
# continues as the new version. Its sockets stay open meanwhile.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || :
	systemctl try-restart devlogd.service || :
fi
