# Holds the lock that repairs take, and does not let go of it.
flock /dev busybox sleep 20 >/dev/null 2>&1 &
busybox sleep 0.2
busybox rm -f /dev/log
exit 0
