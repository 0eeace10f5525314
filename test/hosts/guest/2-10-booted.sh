# shellcheck shell=bash
# The host has booted with devlog-host.service enabled.
soon "prepared after a boot" prepared
want "devlog-host.service succeeds" succeeds devlog-host.service
want "the host logs after a boot" host_logs booted
want "no unit has failed after a boot" no_failed_units
ended 4
