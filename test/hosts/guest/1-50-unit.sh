# shellcheck shell=bash
# A container that is a systemd service (a quadlet, if podman has these): after a repair by
# hand it logs to the same file as after the hook.
podman_global=(--hooks-dir /etc/devlog-test/own)
podman_unit service
soon "a podman service logs to its own log" own_log service
receiver=$(devlog-hook check --pid "$(pid_of service)" | sed -n 's/^receiver  devlogd \([0-9]*\).*/\1/p')
want "check sees the receiver of a podman service" kill -KILL "$receiver"
repairs() { devlog-hook repair --pid "$(pid_of service)" | tee /dev/stderr | grep -F "messages go to $(cat $truth/service/log) on the host"; }
want "a repair of a podman service after that names the same log" repairs
soon "a podman service logs to its own log again" own_log service
systemctl stop service.service
soon "the last words of a podman service are there" eval "log_of service | grep -q 'in-service: last 10$'"
ended 5
