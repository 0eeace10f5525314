# shellcheck shell=bash
# A newer package is installed while containers run.
podman_run podman
podman_global=(--hooks-dir /etc/devlog-test/supervised)
podman_run podman-s
podman_global=()
docker_run docker --runtime devlog
lxc_run start "${start_hook[@]}"
lxc_run start-host "${start_host_hook[@]}"
names=(podman podman-s docker start start-host)
for name in "${names[@]}"; do soon "$name logs to its own log" own_log "$name"; done
want "a newer package is installed" dpkg -i newer.deb
want "it is the newer one" eval "devlog-hook --version | grep -F 99.0.0"
want "prepared after the upgrade" prepared
want "no unit has failed" no_failed_units
sleep 3
for name in "${names[@]}"; do soon "upgrade: $name logs to its own log" own_log "$name"; done
podman stop podman podman-s >/dev/null
docker stop docker >/dev/null
lxc-stop -n start
lxc-stop -n start-host
for name in "${names[@]}"; do soon "upgrade: nothing of $name is lost" complete "$name"; done
podman rm podman podman-s >/dev/null
docker rm docker >/dev/null
ended 19
