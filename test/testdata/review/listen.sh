# Has its hook make sockets where others see them: its image has links to the shared /dev.
#image ln -s dev evil && mkdir data && ln -s ../dev/shm data/shm
#annotation devlog.dev/listen=/evil/made\n/evil/new/made\n/data/shm/made\n/data/shm/new/made\n/proc/1/made\n/good/made
ls /good/made >/dev/null || { echo no socket; exit 1; }
for name in /dev/made /dev/new /dev/shm/made /dev/shm/new /proc/1/made; do
	ls -d $name 2>/dev/null && exit 3
done
exit 0
