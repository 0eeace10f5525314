#!/bin/bash
# demo.sh BIN: shows, with the programs in the directory BIN, how syslog messages
# go astray when containers share the host's /dev, and how devlog-hook cures it.
# It needs root and what every Debian has. It plays on a throw-away host made of
# namespaces: the machine's own /dev, /run and /var/log are not touched, and the
# kernel ends and removes everything when this script ends, however it ends.
set -euo pipefail

fail() {
	echo "demo: $*" >&2
	exit 1
}

if [[ -z ${DEVLOG_DEMO_HOST:-} ]]; then
	[[ $# == 1 ]] || fail "usage: demo.sh BIN"
	bin=$(realpath -e "$1")
	[[ -x $bin/devlogd && -x $bin/devlog-hook ]] || fail "$bin lacks devlogd or devlog-hook: run make first"
	[[ $EUID == 0 ]] || fail "needs root, to make namespaces"
	exec env DEVLOG_DEMO_HOST=1 unshare --mount --pid --uts --fork --kill-child --mount-proc \
		--propagation private -- bash "$(realpath -e "$0")" "$bin"
fi

bin=$1
PATH=$bin:/usr/sbin:/usr/bin:/sbin:/bin
# The settings of whoever runs this are not ours.
unset "${!DEVLOG_@}"

# make_host gives this namespace what a host has of its own.
make_host() {
	hostname host
	mount -n -t tmpfs -o mode=755 dev /dev
	while read -r name major minor; do
		mknod -m 666 "/dev/$name" c "$major" "$minor"
	done <<-'NODES'
		null 1 3
		zero 1 5
		random 1 8
		urandom 1 9
		kmsg 1 11
	NODES
	ln -s /proc/self/fd /dev/fd
	mount -n -t tmpfs -o mode=755 run /run
	mount -n -t tmpfs -o mode=755 log /var/log
	# Nor is the configuration of a devlog that is installed: an empty one has no rules.
	: >/run/devlogd.conf
	[[ ! -e /etc/devlogd.conf ]] || mount -n --bind /run/devlogd.conf /etc/devlogd.conf
}

declare -A job # the containers' unshare

# start_container NAME: a container has its own processes, name, /run and
# /var/log, but the host's /dev.
start_container() {
	mkfifo "/run/$1.stop"
	# shellcheck disable=SC2016 # expanded in the container
	unshare --mount --pid --uts --fork --kill-child --propagation private -- bash -euc '
		read -r pid _ </proc/self/stat # of the host, whose /proc this still is
		exec 3>"/run/$1.pid" 4<>"/run/$1.stop" # on the host
		hostname "$1"
		mount -n --rbind /dev /dev
		mount -n -t tmpfs -o mode=755 log /var/log
		mount -n -t proc proc /proc
		mount -n -t tmpfs -o mode=755 run /run
		echo "$pid" >&3
		exec 3>&-
		read -r _ <&4
	' container "$1" &
	job[$1]=$!
	wait_for "container $1 runs" test -s "/run/$1.pid"
}

# stop_container NAME
stop_container() {
	echo >"/run/$1.stop"
	wait "${job[$1]}"
	rm "/run/$1.pid" "/run/$1.stop"
}

# in_ WHERE COMMAND...: runs a command on the host or in a container.
in_() {
	local where=$1
	shift
	if [[ $where == host ]]; then
		"$@"
	else
		nsenter --target "$(<"/run/$where.pid")" --mount --pid --uts -- "$@"
	fi
}

# show WHERE COMMAND: shows a command and its output as at a prompt.
show() {
	printf '  %-6s $ %s\n' "$1" "$2"
	in_ "$1" bash -c "$2" 2>&1 | while IFS= read -r line; do printf '           %s\n' "$line"; done
	return "${PIPESTATUS[0]}"
}

say() { printf '\n%s\n' "$*"; }

# wait_for WHAT COMMAND...: until the command succeeds, for at most 20 seconds.
wait_for() {
	local what=$1 limit=$((SECONDS + 20))
	shift
	until "$@" 2>/dev/null; do
		((SECONDS < limit)) || fail "not seen: $what"
		sleep 0.05
	done
}

# has WHERE TEXT: TEXT is in the log of WHERE.
has() { in_ "$1" grep -qs -- ": $2\$" /var/log/messages; }

# arrives TEXT WHERE: TEXT comes to the log of WHERE, and to no other.
arrives() {
	local where
	wait_for "'$1' in the log of $2" has "$2" "$1"
	for where in host A B; do
		[[ $where == "$2" ]] || ! has "$where" "$1" || fail "'$1' is in the log of $where as well"
	done
}

# lost TEXT WHERE...: TEXT is in no log of WHERE. Nobody listens, so that
# there is nothing to wait for.
lost() {
	local text=$1 where
	shift
	for where; do
		! has "$where" "$text" || fail "'$text' is in the log of $where after all"
	done
}

# old_way WHERE: what every syslog daemon does when it starts. devlogd by itself
# stands in for rsyslogd or syslog-ng, which a fresh machine does not have.
old_way() {
	show "$1" "rm -f /dev/log; devlogd --listen /dev/log --rule '*.* /var/log/messages' >/dev/null 2>&1 &"
	wait_for "a syslog daemon on $1" in_ "$1" logger --socket-errors=on --socket /dev/log -t demo "daemon of $1 is up"
	arrives "daemon of $1 is up" "$1"
}

# inode_of WHERE prints which directory /dev is there.
inode_of() { in_ "$1" stat -c %d:%i /dev; }

make_host
say "A host and its containers A and B. Each has its own /run and /var/log, but all three have one /dev."
start_container A
start_container B
[[ $(inode_of A) == "$(inode_of host)" && $(inode_of B) == "$(inode_of host)" ]] || fail "/dev is not shared"
say "1. Each starts its syslog daemon, which removes the /dev/log it finds and makes its own:"
for where in host A B; do old_way "$where"; done
say "2. Each logs a message:"
for where in host A B; do show "$where" "logger 'hello from $where'"; done
for where in host A B; do arrives "hello from $where" B; done
show B "grep hello /var/log/messages"
for where in host A; do show "$where" "grep -c hello /var/log/messages" || true; done # 0, which grep calls a failure
say "   MISDELIVERED: all of them are in B's log. The logs of the host and of A have none."
say "3. B stops, and the host and A log on:"
stop_container B
for where in host A; do
	show "$where" "logger 'anybody there, asks $where?'" || true # whether logger minds is its affair
	lost "anybody there, asks $where?" host A
done
for where in host A; do show "$where" "grep -c anybody /var/log/messages" || true; done
say "   LOST: they are in no log, though the daemons of the host and of A still run."
say "4. devlog-hook says what is wrong:"
status=0
show A "devlog-hook check" || status=$?
[[ $status == 1 ]] || fail "check finds nothing to repair: exit code $status"
say "5. B is started again. The repair, once for each (a hook does this at every start):"
start_container B
for where in host A B; do
	show "$where" "devlog-hook repair"
done
say "6. Each logs a message again:"
for where in host A B; do show "$where" "logger 'hello again from $where'"; done
for where in host A B; do
	arrives "hello again from $where" "$where"
	show "$where" "grep again /var/log/messages"
	in_ "$where" devlog-hook check >/dev/null || fail "check on $where still finds something to repair"
done
say "REPAIRED: every message is in the log of its own, and only there."
