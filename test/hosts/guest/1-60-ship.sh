# shellcheck shell=bash
# A container's messages reach the host's journal, also during a restart of journald, and
# another host's rsyslog, with the file that devlog-hook prints for rsyslog. The other host
# is a network namespace. For MESSAGES=100000 see docs/contributing.md.
mkdir -p /etc/devlog-test/ship /var/log/journal
sed '/"args"/s,"createRuntime",&\, "--journal"\, "--rule"\, "*.* journal"\, "--rule"\, "*.* -/var/log/devlog/{name}/messages.json ;JSON\,rotate=100M:5",' \
	/usr/share/containers/oci/hooks.d/devlog.json >/etc/devlog-test/ship/devlog.json
systemctl restart systemd-journald
journalctl --flush # to the disk: in memory, journald keeps 40,000 messages here
want "the journal is on the disk" test -e /var/log/journal/*/system.journal

# With the host's programs beside its own.
podman_global=(--hooks-dir /etc/devlog-test/ship)
podman_run web -v /usr/lib:/lib:ro -v /usr/lib:/usr/lib:ro -v /usr/lib64:/lib64:ro -v /usr/bin:/host:ro
podman_global=()

# lands MESSAGE FIELD=VALUE...: the journal has web's message, with these fields.
lands() {
	local entry field
	entry=$(journalctl -q --no-pager -n 1 -o json CONTAINER_NAME=web "MESSAGE=$1")
	for field in "${@:2}"; do [[ $entry = *"\"${field%%=*}\":\"${field#*=}\""* ]] || return 1; done
	[ -n "$entry" ]
}
podman exec web /host/logger -t app -p daemon.err 'of logger'
soon "the journal has logger's message, with priority, identifier and facility" \
	lands 'of logger' PRIORITY=3 SYSLOG_FACILITY=3 SYSLOG_IDENTIFIER=app CONTAINER_TAG=web
podman exec web /bin/sh -c 'echo "of systemd-cat" | /host/systemd-cat -t tool -p warning'
soon "the journal has systemd-cat's message, with priority, identifier and facility" \
	lands 'of systemd-cat' PRIORITY=4 SYSLOG_FACILITY=1 SYSLOG_IDENTIFIER=tool CONTAINER_TAG=web

# in_journal / at_server: the numbers that are there, one a line.
in_journal() { journalctl -q --no-pager -o cat CONTAINER_NAME=web SYSLOG_IDENTIFIER=many "$@"; }
at_server() { tail "${1--n+1}" /srv/server/log | sed -n 's/.*"appname":"many".*"msg":"\([0-9]*\)".*/\1/p'; }
# has FUNCTION TO: waits for that number as long as further ones come. The last lines are
# not all numbers: /loop says something each second.
has() {
	local last= now=0 since=$SECONDS
	{ set +x; } 2>/dev/null
	until [ "$now" = "$2" ] || ((SECONDS - since > 120)); do
		sleep 1
		now=$("$1" -n2000 2>/dev/null | sort -n | tail -n 1)
		[ "$now" = "$last" ] || last=$now since=$SECONDS
	done
	set -x
	[ "$now" = "$2" ]
}
# log FROM TO: web logs these numbers.
log() {
	seq "$1" "$2" >"$truth/web/numbers"
	podman exec web /host/logger -t many -f /truth/numbers
}
# each_once FUNCTION TO: the function prints the numbers up to TO, each once.
each_once() { cmp <(seq "$2") <("$1" | sort -n); }

dpkg --unpack /var/debs/rsyslog/*.deb && ldconfig # its service is not wanted
mkdir -p /srv/server /srv/client
ip netns add server
ip link add relp type veth peer name relp netns server
ip address add 192.0.2.1/30 dev relp
ip link set relp up
ip -n server address add 192.0.2.2/30 dev relp
ip -n server link set relp up
cat >/srv/server.conf <<-'C'
	global(workDirectory="/srv/server" maxMessageSize="512k")
	module(load="imrelp")
	template(name="line" type="string" string="%msg%\n")
	input(type="imrelp" port="2514" maxDataSize="512k" ruleset="store")
	ruleset(name="store" queue.type="Direct") {
	  action(type="omfile" file="/srv/server/log" template="line")
	}
C
devlog-hook config rsyslog --server 192.0.2.2 >/srv/devlog.conf
printf 'global(workDirectory="/srv/client")\ninclude(file="/srv/devlog.conf")\n' >/srv/client.conf
systemd-run -q --unit rs-server -p NetworkNamespacePath=/run/netns/server rsyslogd -n -iNONE -f /srv/server.conf
systemd-run -q --unit rs-client rsyslogd -n -iNONE -f /srv/client.conf

: "${MESSAGES:=10000}"
half=$((MESSAGES / 2))
want "journald has the service's own limit" test -L /run/systemd/units/log-rate-limit-burst:devlogd.service
log 1 $half &
within eval '[ -n "$(in_journal -n1)" ]'
systemctl restart systemd-journald
wait $!
want "the journal has half of $MESSAGES messages, over a restart of journald" has in_journal $half
want "the other host's rsyslog has them" has at_server $half
want "each once" each_once at_server $half
systemctl restart rs-server rs-client
log $((half + 1)) "$MESSAGES"
want "the journal has all" has in_journal "$MESSAGES"
want "each once" each_once in_journal "$MESSAGES"
want "the other host's rsyslog has all, after both were restarted" has at_server "$MESSAGES"
want "each once" each_once at_server "$MESSAGES"
systemctl stop rs-client # before its server: rsyslog 8.2302 crashes without one
systemctl stop rs-server
ip netns delete server
# Restore the host for the next scenarios.
for deb in /var/debs/rsyslog/*.deb; do dpkg-deb -f "$deb" Package; done | xargs dpkg --purge
podman kill web
podman rm -f web
rm -rf /var/log/journal
systemctl restart systemd-journald
ended 11
