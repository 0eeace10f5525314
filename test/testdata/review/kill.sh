# Kills the receiver of a neighbour.
busybox kill -KILL $2 && exit 3
exit 0
