# Has its receiver write where the container may not, or wait: its standard output is first a file
# that it has open for reading, then a FIFO that nobody reads.
#annotation devlog.dev/rules=*.* container-stdout
#process echo whole >/dev/own; exec 1</dev/own
#process mkfifo /tmp/go /tmp/full; read _ </tmp/go; exec 1<>/tmp/full
i=0
while [ $i -lt 100 ]; do client t 13 "first $i"; i=$((i + 1)); done
echo >/tmp/go
while [ $i -lt 5000 ]; do client t 13 "then $i" || exit 1; i=$((i + 100)); done
[ "$(busybox cat /dev/own)" = whole ] || exit 3
busybox rm /dev/own
exit 0
