#!/bin/sh
# Runs in a container that has the root directory of this machine, and has each client of
# systemd's journal log something. A client that cannot be run ends it.
set -eux
exec 2>/opt/log
printf 'MESSAGE=from logger\nPRIORITY=4\nSYSLOG_FACILITY=2\nSYSLOG_IDENTIFIER=lg\nCODE_FILE=x.c\nCONTAINER_NAME=other\n' | logger --journald
LD_LIBRARY_PATH=$(echo /opt/systemd/usr/lib/*-linux-gnu/systemd /opt/systemd/usr/lib/*-linux-gnu /opt/systemd/lib/*-linux-gnu | tr ' ' :)
export LD_LIBRARY_PATH
/opt/systemd/usr/bin/systemd-cat -t cat -p err sh -c 'echo from systemd-cat; echo "<6>with a prefix" >&2'
unset LD_LIBRARY_PATH
PYTHONPATH=/opt/python/usr/lib/python3/dist-packages python3 - <<'P'
from systemd import journal
journal.send("from Python", PRIORITY="3", ORDER="7", SYSLOG_IDENTIFIER="py")
journal.send("large " + "x" * 300000, SYSLOG_IDENTIFIER="py")
P
/opt/journalclient
touch /tmp/done
