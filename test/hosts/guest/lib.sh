# shellcheck shell=bash
# What the scenarios share. Each runs in its own bash -eu.
# shellcheck source=/dev/null
. /etc/os-release # VERSION_CODENAME

truth=/srv/truth           # what containers say that they have logged
host_log=/var/log/host.log # of the host's daemon, where that is busybox syslogd
checks=0

ok() { checks=$((checks + 1)) && echo "ok   $*" >/dev/ttyS1; }
bad() { checks=$((checks + 1)) && echo "FAIL $*" >/dev/ttyS1; }

# want WHAT COMMAND...: a check that is ok if the command succeeds.
want() {
	local what=$1
	shift
	if "$@"; then ok "$what"; else bad "$what ($*)"; fi
}

# soon WHAT COMMAND...: a check that is ok once the command succeeds.
soon() {
	local what=$1
	shift
	if within "$@"; then ok "$what"; else bad "$what ($*)"; fi
}

# within COMMAND...: waits until the command succeeds; fails after 120 seconds, or $WAIT.
within() {
	local end=$((SECONDS + ${WAIT:-120}))
	{ set +x; } 2>/dev/null
	until "$@"; do
		if ((SECONDS >= end)); then
			set -x
			return 1
		fi
		sleep 0.2
	done
	set -x
}

fails() { ! "$@"; }

# exits CODE COMMAND...: the command ends with that exit code.
exits() {
	local code=0
	"${@:2}" || code=$?
	[ $code = "$1" ]
}

# ended NUMBER: the last line of a scenario, which has made that many checks.
ended() {
	[ $checks = "$1" ] || bad "it made $checks checks, not $1"
	echo "end  $(basename "$0")" >/dev/ttyS1
}

leads_to() { [ "$(readlink /dev/log)" = "$1" ]; }
prepared() { leads_to /run/devlog/log && devlog-hook check --host >/dev/null; }
succeeds() { systemctl is-active "$1" && [ "$(systemctl show -p Result --value "$1")" = success ]; }
no_failed_units() { [ -z "$(systemctl --failed --plain --no-legend | tee /dev/stderr)" ]; }

# host_logs TEXT: a message of the host's arrives at its daemon.
host_logs() {
	logger -t host "$1"
	within grep -q "host: $1" $host_log
}

# own_daemon COMMAND...: makes this the host's daemon, which listens on /dev/log itself
# instead of the journal.
own_daemon() {
	cat >/etc/systemd/system/own-syslogd.service <<-U
		[Service]
		ExecStart=$*
		[Install]
		WantedBy=multi-user.target
		Alias=syslog.service
	U
	systemctl mask --now systemd-journald-dev-log.socket
	! leads_to /run/systemd/journal/dev-log || rm /dev/log
	systemctl daemon-reload
	systemctl enable own-syslogd.service
	restart_daemon
}
busybox_syslogd=(/bin/busybox syslogd -n -O $host_log)

# restart_daemon: restarts that daemon, and waits until it listens.
restart_daemon() {
	systemctl restart own-syslogd.service
	within grep -qE ' /dev/(log|\.devlog-host)$' /proc/net/unix
}

# --- containers: all run /loop, whose lines go to syslog and to $truth/NAME/lines

# setup NAME: makes the directory of its truth.
setup() { mkdir -p "$truth/$1" && rm -f "$truth/$1"/*; }

# logs_to NAME FILE: the container's own log should be in FILE.
logs_to() { echo "$2" >"$truth/$1/log"; }
log_of() { cat "$(cat "$truth/$1/log")"; }

# podman_run NAME [OPTION...] / docker_run NAME [OPTION...]: a container with the
# host's /dev. Its log is on the host.
podman_args=(--network none -v /dev:/dev --stop-timeout 30)
podman_run() {
	setup "$1"
	podman "${podman_global[@]}" run -d --name "$1" --annotation devlog.dev/log=on "${podman_args[@]}" -v "$truth/$1:/truth" -v /test/loop:/loop:ro -e NAME="$1" "${@:2}" localhost/bb /loop
	logs_to "$1" "/var/log/devlog/$(podman inspect -f '{{.Id}}' "$1")/messages"
}
podman_global=()
docker_run() {
	setup "$1"
	docker run -d --name "$1" "${podman_args[@]}" -v "$truth/$1:/truth" -v /test/loop:/loop:ro -e NAME="$1" "${@:2}" bb /loop
	logs_to "$1" "/var/log/devlog/$(docker inspect -f '{{.Id}}' "$1")/messages"
}

# lxc_config NAME [LINE...]: a container with the host's /dev. With the start hook its log
# is inside, otherwise on the host.
lxc_config() {
	local name=$1 root=/var/lib/lxc/$1/rootfs
	setup "$name"
	mkdir -p "$root"
	tar -C "$root" -xf /srv/bb.tar
	cp /test/loop "$root/loop"
	{
		cat <<-C
			lxc.uts.name = $name
			lxc.rootfs.path = dir:$root
			lxc.mount.auto = proc:mixed sys:mixed
			lxc.autodev = 0
			lxc.mount.entry = /dev dev none rw,bind 0 0
			lxc.mount.entry = $truth/$name truth none rw,bind,create=dir 0 0
			lxc.net.0.type = empty
			lxc.environment = NAME=$name
			lxc.init.cmd = /loop
			lxc.pty.max = 0
			lxc.tty.max = 0
			lxc.signal.halt = SIGTERM
		C
		printf '%s\n' "${@:2}"
	} >"/var/lib/lxc/$name/config"
	case " $*" in
	*hook.start\ *) logs_to "$name" "$root/var/log/messages" ;;
	*) logs_to "$name" "/var/log/devlog/$name/messages" ;;
	esac
}
# The README's two lines, and the one for a receiver on the host.
start_hook=("lxc.mount.entry = /usr/libexec/devlog opt/devlog none ro,bind,create=dir 0 0"
	"lxc.hook.start = /opt/devlog/devlog-hook")
start_host_hook=("lxc.hook.start-host = /usr/libexec/devlog/devlog-hook")
generated=("lxc.apparmor.profile = generated")
lxc_run() {
	lxc_config "$@"
	lxc-start -n "$1" -l DEBUG -o "/tmp/$1.lxc"
}

# pid_of NAME: the first process of the container.
pid_of() {
	lxc-info -n "$1" -p -H 2>/dev/null || podman inspect -f '{{.State.Pid}}' "$1" 2>/dev/null || docker inspect -f '{{.State.Pid}}' "$1"
}

# listed_by_node: prints how many containers the service of the host has.
listed_by_node() {
	local pid
	pid=$(systemctl show -p MainPID --value devlogd.service)
	devlog-hook list --json | grep -c "\"receiver\": $pid\$"
}

# own_log NAME: the container's own log has its last line.
own_log() {
	local line
	line=$(tail -n 1 "$truth/$1/lines") && [ -n "$line" ] || return 1
	log_of "$1" 2>/dev/null | grep -q " in-$1: $line\$"
}

# complete NAME: each line of the truth is in the log, including the last one, which the
# container logs when it is stopped.
complete() {
	local name=$1 lost
	grep -qx 'last 10' "$truth/$name/lines" || {
		echo "$name was killed before its last words"
		return 1
	}
	lost=$(grep -vxF -f <(log_of "$name" | sed -n "s/^.* in-$name: //p") "$truth/$name/lines") || return 0
	echo "$name: lost: $lost"
	return 1
}

# podman_unit NAME: the same as a systemd service, NAME.service.
podman_unit() {
	local name=$1 id
	setup "$name"
	if [ "$VERSION_CODENAME" = trixie ]; then
		mkdir -p /etc/containers/systemd
		cat >"/etc/containers/systemd/$name.container" <<-Q
			[Container]
			ContainerName=$name
			Image=localhost/bb
			Exec=/loop
			Network=none
			Volume=/dev:/dev
			Annotation=devlog.dev/log=on
			Volume=$truth/$name:/truth
			Volume=/test/loop:/loop:ro
			Environment=NAME=$name
			StopTimeout=30
			GlobalArgs=${podman_global[*]}
			[Service]
			TimeoutStopSec=60
		Q
	else
		podman "${podman_global[@]}" create --name "$name" --annotation devlog.dev/log=on "${podman_args[@]}" -v "$truth/$name:/truth" -v /test/loop:/loop:ro -e NAME="$name" localhost/bb /loop
		podman generate systemd --name "$name" |
			sed "s,podman start,podman ${podman_global[*]} start," >"/etc/systemd/system/$name.service"
	fi
	systemctl daemon-reload
	systemctl start "$name.service"
	id=$(podman inspect -f '{{.Id}}' "$name")
	logs_to "$name" "/var/log/devlog/$id/messages"
}

# end NAME: removes the container at once, if it exists.
end() {
	case $1 in
	podman* | oneshot | timer) podman kill "$1" && podman rm -f "$1" ;; # rm has no time in podman 3
	docker*) docker rm -f "$1" ;;
	*) lxc-stop -k -n "$1" ;;
	esac >/dev/null || :
}
