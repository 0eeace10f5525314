# shellcheck shell=bash
# The host's daemon listens on /dev/log itself, and the host is not prepared.
own_daemon "${busybox_syslogd[@]}"
want "the host logs" host_logs before
bound=(podman podman2 docker)
confined=(start startg) # by AppArmor: these may not mount
hosts=(start-host start-hostg)
case $VERSION_CODENAME in
bullseye) bound+=("${confined[@]}" "${hosts[@]}") confined=() ;; # its AppArmor lets them mount
trixie) confined+=("${hosts[@]}") ;;                             # its lxc-start is confined, too
*) bound+=("${hosts[@]}") ;;
esac
config() { # config NAME
	local lines=("${start_hook[@]}")
	case $1 in start-host*) lines=("${start_host_hook[@]}") ;; esac
	case $1 in *g) lines+=("${generated[@]}") ;; esac
	lxc_config "$1" "${lines[@]}"
}
start() { lxc-start -n "$1" -l DEBUG -o "/tmp/$1.lxc"; }

podman_run podman
podman_run podman2
docker_run docker --runtime devlog
for name in "${bound[@]}"; do
	case $name in start*) config "$name" && start "$name" ;; esac
done
for name in "${bound[@]}"; do soon "bind: $name logs to its own log" own_log "$name"; done
want "bind: the host's /dev/log is its daemon's" test -S /dev/log
none_of_theirs() { ! grep ' in-' $host_log; }
want "bind: none of that is in the host's log" none_of_theirs
want "bind: the host logs" host_logs bound

# How many messages reach the host's log while its daemon is restarted: each container logs
# a line a second, and is repaired within a second, even on a slow machine.
restarts=3
: >$host_log
for ((i = 1; i <= restarts; i++)); do
	restart_daemon
	sleep 5
done
leaked=$(grep -c ' in-' $host_log || :)
what="bind: $leaked lines of ${#bound[@]} containers in the host's log after $restarts restarts of its daemon"
if ((leaked <= restarts * ${#bound[@]})); then ok "$what"; else bad "$what, not at most one of each for each"; fi
for name in "${bound[@]}"; do
	soon "bind: $name logs to its own log after that" own_log "$name"
	end "$name"
done

# A hook that may not mount lets the container start, and reports why it has no log.
in_kernel_log() { dmesg | grep "devlog-hook: .*$1:" | tail -n 1 | grep -q 'devlog-hook repair --host'; }
for name in "${confined[@]}"; do
	config "$name"
	want "refused: LXC $name starts" start "$name"
	case $name in
	start-host*) want "refused: the reason and the advice are in /run/devlog/$name.log" grep -q 'devlog-hook repair --host' "/run/devlog/$name.log" ;;
	*)
		want "refused: the kernel's log has the reason and the advice for $name" in_kernel_log "$name"
		want "refused: LXC's log has them for $name" grep -q 'produced output.*devlog-hook repair --host' "/tmp/$name.lxc"
		want "refused: a repair typed in $name ends with exit code 3" exits 3 lxc-attach -n "$name" -- /opt/devlog/devlog-hook repair
		;;
	esac
	end "$name"
done
want "repair --host prepares the host" devlog-hook repair --host
for name in "${confined[@]}"; do
	want "prepared: LXC $name starts" start "$name"
	soon "prepared: LXC $name logs to its own log" own_log "$name"
	end "$name"
done
want "undo --host" devlog-hook undo --host
want "the host has its socket back" test -S /dev/log
checks_of_confined=0
for name in "${confined[@]}"; do
	case $name in start-host*) checks_of_confined=$((checks_of_confined + 4)) ;; *) checks_of_confined=$((checks_of_confined + 6)) ;; esac
done
ended $((5 + 2 * ${#bound[@]} + 3 + checks_of_confined))
