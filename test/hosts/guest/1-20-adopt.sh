# shellcheck shell=bash
# /dev/log is a link to the journal's socket: containers adopt the path to which it points.
want "the host's /dev/log is a link" leads_to /run/systemd/journal/dev-log
podman_run podman
docker_run docker --runtime devlog
lxc_run start "${start_hook[@]}"
lxc_run startg "${start_hook[@]}" "${generated[@]}"
lxc_run start-host "${start_host_hook[@]}"
lxc_run start-hostg "${start_host_hook[@]}" "${generated[@]}"
for name in podman docker start startg start-host start-hostg; do
	soon "adopt: $name logs to its own log" own_log $name
	want "adopt: check sees the receiver of $name" eval "devlog-hook check --pid $(pid_of $name) | grep -q '^receiver  devlogd [0-9]'"
done
want "adopt: nothing is in the host's log" fails eval "journalctl -q --no-pager | grep ' in-'"
for name in start startg start-host start-hostg; do end $name; done
end docker
end podman

# A repair by a user whose processes systemd ends.
podman_global=(--hooks-dir /var/empty)
mkdir -p /var/empty
for by in oneshot timer; do
	podman_run $by
	within test -s $truth/$by/lines
	logs_to $by /var/log/devlog/$by/messages
	command=(devlog-hook repair --pid "$(pid_of $by)" --name $by)
	if [ $by = oneshot ]; then
		want "a oneshot unit repairs" systemd-run --wait --quiet -p Type=oneshot "${command[@]}"
	else
		want "a timer is set" systemd-run --quiet --unit by-timer --on-active=1 --timer-property=AccuracySec=100ms "${command[@]}"
		soon "a timer repairs" eval "journalctl -q --no-pager -u by-timer.service | grep repaired"
		within fails systemctl is-active by-timer.service
	fi
	sleep 2 # what happened to the receiver has happened
	soon "$by: messages arrive after that" own_log $by
	want "$by: the receiver runs" eval "devlog-hook check --pid $(pid_of $by) | grep -q '^receiver  devlogd [0-9]'"
	end $by
done
ended 21
