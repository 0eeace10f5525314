# shellcheck shell=bash
# The package is purged while containers run: they keep logging, and can be stopped.
podman_run podman
docker_run docker --runtime devlog
lxc_run start "${start_hook[@]}"
names=(podman docker start)
for name in "${names[@]}"; do soon "$name logs to its own log" own_log "$name"; done
want "dpkg -P" eval "dpkg -P devlog 2>&1 | tee /tmp/purged"
want "no unit has failed after the purge" no_failed_units
want "devlog-host.service is gone" fails systemctl is-active devlog-host.service
for name in "${names[@]}"; do soon "purged: $name logs to its own log" own_log "$name"; done
want "purged: the host logs" host_logs purged
want "purged: podman stops" podman stop podman
want "purged: LXC stops" lxc-stop -n start
# Without the runtime Docker can only kill.
want "purged: Docker stops, or the removal has said that it cannot" eval 'docker stop docker && complete docker || grep -iE "docker.*(stop|kill)" /tmp/purged'
for name in podman start; do soon "purged: nothing of $name is lost" complete "$name"; done
want "purged: no unit has failed" no_failed_units
ended 16
