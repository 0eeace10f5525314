# Looks for what a hook or the runtime has left open in the container's own process.
for fd in $(ls /proc/self/fd); do
	to=$(readlink /proc/self/fd/$fd 2>/dev/null)
	case $to in
	'' | pipe:* | /dev/null | /dev/pts/* | /proc/*) ;;
	*) echo "$fd $to"; exit 3 ;;
	esac
done
exit 0
