# Reads what belongs to the receiver ($2) and the watcher ($3) of a neighbour and of the host.
for pid in $2 $3; do
	for name in root/ cwd/ map_files/ task/$pid/root/; do
		ls "$1/$pid/$name" 2>/dev/null | grep -q . && echo $name && exit 3
	done
	for name in mem environ maps auxv io stack syscall personality task/$pid/mem; do
		busybox head -c 1 "$1/$pid/$name" 2>/dev/null | grep -q . && echo $name && exit 3
	done
	for name in exe root cwd ns/mnt ns/user fd/0 fd/3 fd/4 fd/5 fd/6 fd/7 fd/8 fd/9; do
		readlink "$1/$pid/$name" >/dev/null 2>&1 && echo $name && exit 3
	done
done
exit 0
