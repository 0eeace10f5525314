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
for name in {hand,unit,docker,unit-lxc,hand-lxc}{,-s}; do soon "$name logs to its own log" own_log $name; done
want "five of them have a receiver that systemd supervises" [ "$(systemctl list-units --plain --no-legend 'devlog-*.service' | grep -vcE 'devlog-(host|test)\.')" = 5 ]
ended 11
