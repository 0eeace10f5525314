# shellcheck shell=bash
# Containers of all kinds are running when the host boots again; 2-20-lost.sh looks
# at what they have said until their ends.
supervised=("lxc.hook.start-host = env DEVLOG_SUPERVISE=systemd /usr/libexec/devlog/devlog-hook")
for s in "" -s; do
	[ -z "$s" ] || podman_global=(--hooks-dir /etc/devlog-test/supervised)
	podman_run hand$s
	podman_unit unit$s
	lxc_config unit-lxc$s "${supervised[@]}"
	if [ -z "$s" ]; then
		docker_run docker --runtime devlog
		lxc_config unit-lxc "${start_hook[@]}"
		lxc_run hand-lxc "${start_hook[@]}"
	else
		docker_run docker-s --runtime supervised
		lxc_run hand-lxc-s "${supervised[@]}"
	fi
	systemctl start lxc@unit-lxc$s
done
# One more of each has the service of the host.
podman_global=()
want "devlogd.socket is enabled" systemctl enable --now devlogd.socket
podman_run hand-n
podman_unit unit-n
docker_run docker-n --runtime devlog
lxc_config unit-lxc-n "${start_host_hook[@]}"
systemctl start lxc@unit-lxc-n
lxc_run hand-lxc-n "${start_host_hook[@]}"
want "the service has five" [ "$(listed_by_node)" = 5 ]
for name in {hand,unit,docker,unit-lxc,hand-lxc}{,-s,-n}; do soon "$name logs to its own log" own_log $name; done
want "five of them have a receiver that systemd supervises" [ "$(systemctl list-units --plain --no-legend 'devlog-*.service' | grep -vcE 'devlog-(host|test)\.')" = 5 ]
ended 18
