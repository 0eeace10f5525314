# shellcheck shell=bash
# Containers of all kinds run when the host reboots. 2-20-lost.sh checks what they logged
# until their end. Some have their own receiver.
own=("lxc.hook.start-host = env DEVLOG_RECEIVER=/usr/libexec/devlog/devlogd /usr/libexec/devlog/devlog-hook")
podman_global=(--hooks-dir /etc/devlog-test/own)
podman_run hand-o
podman_unit unit-o
podman_global=()
docker_run docker-o --runtime own
lxc_config unit-lxc-o "${own[@]}"
systemctl start lxc@unit-lxc-o
lxc_run hand-lxc-o "${own[@]}"
lxc_config unit-lxc-i "${start_hook[@]}"
systemctl start lxc@unit-lxc-i
lxc_run hand-lxc-i "${start_hook[@]}"
podman_run hand
podman_unit unit
docker_run docker --runtime devlog
lxc_config unit-lxc "${start_host_hook[@]}"
systemctl start lxc@unit-lxc
lxc_run hand-lxc "${start_host_hook[@]}"
want "the service has five" [ "$(listed_by_node)" = 5 ]
for name in {hand,unit,docker,unit-lxc,hand-lxc}{,-o} {hand,unit}-lxc-i; do soon "$name logs to its own log" own_log $name; done
ended 13
