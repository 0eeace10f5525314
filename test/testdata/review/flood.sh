# Floods its own log from a new connection each time, with what is no message.
junk=$(busybox head -c 2000 /dev/urandom | busybox base64 | busybox tr -d '\n')
for i in $(busybox seq 300); do
	client "<999>$i" 13 "$junk" 2>/dev/null
done
exit 0
