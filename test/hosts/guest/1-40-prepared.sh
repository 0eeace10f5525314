# shellcheck shell=bash
# devlog-host.service prepares the host, and keeps it so.
install -m 755 syslogd.pl /usr/local/sbin/
own_daemon /usr/local/sbin/syslogd.pl $host_log
want "devlog-host.service is enabled and started" systemctl enable --now devlog-host.service
want "devlog-host.service succeeds" succeeds devlog-host.service
want "the host is prepared" prepared
want "the host logs" host_logs prepared
podman_run podman
lxc_run start "${start_hook[@]}"
for name in podman start; do soon "prepared: $name logs to its own log" own_log $name; done
: >$host_log
for i in 1 2 3; do
	restart_daemon
	soon "prepared again after restart $i of the host's daemon" prepared
	want "the host logs after restart $i" host_logs "restart$i"
done
for name in podman start; do soon "prepared: $name logs to its own log after that" own_log $name; done
for name in podman start; do end $name; done

# A daemon that replaces /dev/log again and again, each time in one step.
systemctl stop own-syslogd.service
perl -MSocket -e '
	my $s;
	for (my $end = time + 6; time < $end;) {
		socket($s, AF_UNIX, SOCK_DGRAM, 0);
		unlink "/dev/log";
		bind($s, pack_sockaddr_un("/dev/log"));
	}
	sleep 60' &
flips=$!
sleep 6
WAIT=20 soon "prepared again after five seconds of a daemon that takes /dev/log" leads_to /run/devlog/log
kill $flips
systemctl start own-syslogd.service
soon "prepared again with the host's own daemon" prepared
want "the host logs" host_logs flipped

main_pid() { systemctl show -p MainPID --value devlog-host.service; }
restarts() { devlog-hook check --host | grep -q 'restarted by systemd if killed (devlog-host.service)'; }
want "check says that systemd restarts the watcher" restarts
kill -KILL "$(main_pid)"
soon "a killed watcher is restarted" eval 'systemctl is-active devlog-host.service && kill -0 $(main_pid)'
want "check says so of the new one" restarts
pid=$(main_pid)
systemctl stop devlog-host.service
want "a stopped service leaves the host prepared" prepared
want "and no process" fails kill -0 "$pid"

# The daemon of a prepared host without a watcher has replaced /dev/log: the repair of the
# next container makes it a link again.
for name in podman docker start start-host; do
	restart_daemon
	want "symlink: the daemon has taken /dev/log before $name starts" fails test -L /dev/log
	case $name in
	podman) podman_run podman ;;
	docker) docker_run docker --runtime devlog ;;
	start) lxc_run start "${start_hook[@]}" ;;
	start-host) lxc_run start-host "${start_host_hook[@]}" ;;
	esac
	soon "symlink: $name logs to its own log" own_log $name
	want "symlink: the host is prepared" leads_to /run/devlog/log
	want "symlink: the host logs" host_logs "symlink-$name"
	end $name
done
systemctl start devlog-host.service
own_daemon "${busybox_syslogd[@]}"
soon "prepared with busybox syslogd" prepared
want "the host logs" host_logs busybox
want "no unit has failed" no_failed_units
ended 41
