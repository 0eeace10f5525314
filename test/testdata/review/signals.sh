# Sends every signal that a receiver ($2) or the watcher ($3) handles, many times. TERM is
# not sent while the program is replaced (USR2): it would be as good as KILL in the moment
# in which the new program starts.
for i in $(busybox seq 30); do
	for signal in USR1 HUP TERM; do
		busybox kill -$signal $2 || { echo $signal; exit 3; }
	done
	busybox kill -HUP $3 || exit 3
done
for i in $(busybox seq 20); do
	for signal in USR1 HUP USR2; do
		busybox kill -$signal $2 && busybox kill -$signal $3 || { echo $signal; exit 3; }
	done
	busybox sleep 0.05
done
exit 0
