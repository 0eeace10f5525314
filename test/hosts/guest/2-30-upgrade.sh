# shellcheck shell=bash
# A newer package is installed while containers run.
podman_run podman
podman_global=(--hooks-dir /etc/devlog-test/own)
podman_run podman-o
podman_global=()
docker_run docker --runtime devlog
docker_run docker-o --runtime own
lxc_run start "${start_hook[@]}"
lxc_run start-host "${start_host_hook[@]}"
names=(podman podman-o docker docker-o start start-host)
want "the service has three" [ "$(listed_by_node)" = 3 ]
for name in "${names[@]}"; do soon "$name logs to its own log" own_log "$name"; done
want "a newer package is installed" dpkg -i newer.deb
want "it is the newer one" eval "devlog-hook --version | grep -F 99.0.0"
want "prepared after the upgrade" prepared
want "no unit has failed" no_failed_units
want "the service still has three" [ "$(listed_by_node)" = 3 ]
want "the service is killed" systemctl kill -s KILL devlogd.service
soon "after a kill the service has three" eval '[ "$(listed_by_node)" = 3 ]'
sleep 3
for name in "${names[@]}"; do soon "upgrade: $name logs to its own log" own_log "$name"; done
podman stop podman podman-o >/dev/null
docker stop docker docker-o >/dev/null
lxc-stop -n start
lxc-stop -n start-host
for name in "${names[@]}"; do soon "upgrade: nothing of $name is lost" complete "$name"; done
podman rm podman podman-o >/dev/null
docker rm docker docker-o >/dev/null
soon "the service has none" eval '[ "$(listed_by_node)" = 0 ]'
ended 27
