#!/bin/bash
# node.sh SCENARIO: runs the scenario, a file of this directory, in a throw-away
# node made of namespaces, with a /dev, /run, /etc and /opt of its own; everything
# ends with it. In $WORK are bin/ with the engines, devlog/ with the programs, and
# img.tar; what is written goes there too. See run.sh.
set -u
: "${WORK:?a directory with bin/, devlog/ and img.tar}"
if [ -z "${IN_NODE-}" ]; then
	IN_NODE=1 exec unshare -m -n -p -i -u --fork --mount-proc --kill-child --propagation private bash "$0" "$@"
fi
set -e
export PATH=$WORK/bin:$PATH
mount -t tmpfs -o mode=755 dev /dev
for n in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "/dev/${n%:*}" c 1 "${n#*:}"; done
mknod -m 666 /dev/tty c 5 0
mknod -m 644 /dev/kmsg c 1 11
mkdir /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o newinstance,ptmxmode=0666 devpts /dev/pts
ln -s pts/ptmx /dev/ptmx
ln -s /proc/self/fd /dev/fd
mount -t tmpfs run /run
mount -t tmpfs log /var/log
hostname node1
ip link set lo up
mkdir -p /run/over
mount -t tmpfs over /run/over
for d in etc usr/libexec opt; do
	mkdir -p "/run/over/$d"/{u,w}
	mount -t overlay -o "lowerdir=/$d,upperdir=/run/over/$d/u,workdir=/run/over/$d/w" over "/$d"
done
mkdir -p /etc/containerd/conf.d /etc/cdi /opt/cni/bin /opt/devlog /run/lock /run/podlogs
mount --make-rshared /
# shellcheck source=/dev/null
. "$(dirname "$0")/lib.sh"
# shellcheck source=/dev/null
. "$1"
