# shellcheck shell=bash
# The OpenTelemetry Collector, with the file that devlog-hook prints, follows a
# container's log and sends it to VictoriaLogs by OTLP. Nothing is lost while files are
# rotated, the Collector is killed and the store is down.
export PATH=$WORK/devlog:$WORK/collector:$PATH
store=http://127.0.0.1:9428
mkdir -p /run/collector /run/store

devlog-hook config otel --server 127.0.0.1 |
	sed -e "s,https://127.0.0.1:4318/v1/logs,$store/insert/opentelemetry/v1/logs," \
		-e 's,/var/lib/otelcol-contrib,/run/collector,' >/run/collector.yaml
want "the printed file is valid" otelcol validate --config /run/collector.yaml

collector_start() {
	otelcol --config /run/collector.yaml --feature-gates stanza.synchronousLogEmitter >>"$WORK/log/$scenario.collector" 2>&1 &
	collector=$!
}
# collector_end SIGNAL
collector_end() {
	kill "-$1" $collector
	wait $collector 2>/dev/null || true
}
store_start() {
	victoria-logs -storageDataPath /run/store -httpListenAddr 127.0.0.1:9428 >>"$WORK/log/$scenario.store" 2>&1 &
	store_pid=$!
	within 20 query '*%20|%20limit%201' >"$WORK/said"
}
# In order: it confirms what it has in memory for up to 5 s (-inmemoryDataFlushInterval).
store_stop() {
	kill $store_pid
	wait $store_pid 2>/dev/null || true
}
query() { busybox wget -q -O - "$store/select/logsql/query?query=$1"; }

logged=0
# log LINES: the container logs so many lines, each with the next number.
log() {
	seq -f 'number %g' $((logged + 1)) $((logged + $1)) | logger -u /run/c1.sock -d -t app -p daemon.warning
	logged=$((logged + $1))
}
# count: all lines in the store, and the different ones.
count() {
	query 'container.name:c1%20_msg:number%20|%20stats%20count()%20all,%20count_uniq(_msg)%20different' |
		sed 's/.*"all":"\([0-9]*\)".*"different":"\([0-9]*\)".*/\1 \2/'
}
# arrived: the store has each line.
arrived() {
	[ "$(count | cut -d' ' -f2)" = "$logged" ]
}
doubles() { echo $(($(count | sed 's/ / - /'))); }
files() { find /var/log/devlog/c1 -type f | wc -l; }

# The files keep what is logged while the Collector falls behind: each kill has it read much again.
devlogd --name c1 --line-host c1 --listen /run/c1.sock --sandbox off --rule '*.* -/var/log/devlog/c1/messages.json ;JSON,rotate=500k:9' 2>>"$WORK/log/$scenario.devlogd" &
within 20 test -S /run/c1.sock
store_start
collector_start
log 500
soon "the lines of a container arrive" arrived
identified() {
	local has first
	first=$(query '_msg:number%20|%20limit%201')
	echo "$first"
	for has in 'container.name":"c1' 'appname":"app' 'facility":"daemon' 'severity_text":"warning' 'log.file.path":"/var/log/devlog/c1/'; do
		[[ $first = *"$has"* ]] || return 1
	done
}
soon "with its name, the program's and the severity" identified # the store may show no line for a moment
log 3000
soon "over $(($(files) - 1)) rotations" arrived
want "once each" [ "$(doubles)" = 0 ]

for i in 1 2 3 4 5 6 7 8; do
	for _ in {1..20}; do
		log 100
		sleep 0.05
	done &
	sleep "0.$((20 + 9 * i))" # whatever it is doing then
	collector_end KILL
	wait $!
	logged=$((logged + 2000))
	collector_start
done
soon "8 kills lose nothing" arrived
echo "     doubles: $(doubles)"

store_stop
log 2000
collector_end KILL
log 2000
collector_start
log 1000
store_start
soon "a kill while the store is down, and rotations, lose nothing" arrived
all=$(doubles)
echo "     doubles: $all"
collector_end TERM
log 2000
collector_start
soon "an orderly restart loses nothing" arrived
want "and doubles nothing" [ "$(doubles)" = "$all" ]
collector_end TERM
store_stop
ended 9
