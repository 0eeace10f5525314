# shellcheck shell=bash
# The recipes of docs/runtimes.md, as printed there, with an image made on this host and
# without a network. Debian 13 has all the programs.
[ "$VERSION_CODENAME" = trixie ] || {
	ended 0
	return
}

# recipe WHAT [NUMBER]: prints the block with that number (default: the first) below the
# line that begins with WHAT in bold.
recipe() { awk -v what="**$1**" -v number="${2-1}" 'index($0, what) == 1 {on = 1} on && /^```/ {if (++fence == 2 * number) exit; next} on && fence == 2 * number - 1' runtimes.md; }
# logged FILE: the container's message is in the file, once.
logged() { [ "$(grep -c ': hello$' "$1")" = 1 ]; }
output() { [ "$("$@" 2>&1 | grep -c ': hello$')" = 1 ]; }

mkdir -p /etc/containers/systemd /srv/compose /etc/systemd/nspawn
ptmx=$(stat -c %t:%T /dev/ptmx)
recipe Quadlet | sed 's,docker.io/library/busybox,localhost/bb,; /^Image=/a Network=none\nContainerName=quadlet' >/etc/containers/systemd/quadlet.container
systemctl daemon-reload
want "recipes: the quadlet starts" systemctl start quadlet.service
soon "recipes: its message is in the container's output" output podman logs quadlet
systemctl stop quadlet.service
systemctl reset-failed quadlet.service || : # its shell has no handler for SIGTERM, and was killed
rm /etc/containers/systemd/quadlet.container

recipe Compose | sed 's/image: busybox/image: bb\n    network_mode: none\n    command: sh -c "logger hello; sleep 1000"/' >/srv/compose/compose.yaml
want "recipes: compose starts" docker compose --project-directory /srv/compose up --detach
soon "recipes: its message is in the container's output" output docker compose --project-directory /srv/compose logs
docker compose --project-directory /srv/compose down --timeout 1

# The machine for Incus and nspawn: its first process logs at once, and then again and again.
machine=/srv/machine
cp -a /srv/bb $machine
cat >$machine/sbin/init <<-'I'
	#!/bin/sh
	trap 'exit 0' TERM PWR 37 # the last one is nspawn's, SIGRTMIN+3
	logger hello
	while :; do
		sleep 1 &
		wait $!
		logger again
	done
I
chmod 755 $machine/sbin/init
printf 'ID=bb\n' >$machine/etc/os-release

systemctl start incus.service
incus admin init --preseed <<-P
	storage_pools: [{name: default, driver: dir}]
	profiles: [{name: default, devices: {root: {type: disk, path: /, pool: default}}}]
P
mkdir /srv/image
printf 'architecture: x86_64\ncreation_date: 1\n' >/srv/image/metadata.yaml
tar -C /srv/image -czf /srv/image.tar.gz metadata.yaml
tar -C $machine -czf /srv/rootfs.tar.gz .
want "recipes: Incus has the image" incus image import /srv/image.tar.gz /srv/rootfs.tar.gz --alias bb
for name in web webdev; do
	incus create bb $name
	[ $name = web ] || incus config set $name security.privileged=true
	bash -c "$(recipe 'Incus 6' | sed "s/ web / $name /")"
	[ $name = web ] || incus config set $name raw.lxc="$(incus config get $name raw.lxc)
$(recipe 'Incus 6' 2)"
	want "recipes: Incus starts $name" incus start $name
	soon "recipes: the first message of $name is in its log on the host" logged /var/log/devlog/$name/messages
	incus delete --force $name
done
# It leaves a directory there.
rmdir /dev/.incus-mounts
want "recipes: the host has its terminals still" test "$(stat -c %t:%T /dev/ptmx)" = "$ptmx"
systemctl stop incus.service incus.socket

unit=systemd-nspawn@web.service
cp -a $machine /var/lib/machines/web
mkdir -p /etc/systemd/system/$unit.d
printf '[Network]\nVirtualEthernet=no\n' >/etc/systemd/nspawn/web.nspawn
recipe systemd-nspawn >/etc/systemd/system/$unit.d/devlog.conf
for dev in own host; do
	[ $dev = own ] || recipe systemd-nspawn 2 >/etc/systemd/system/$unit.d/dev.conf
	rm -rf /var/log/devlog/web
	systemctl daemon-reload
	want "recipes: systemd-nspawn starts, with the $dev /dev" systemctl start $unit
	soon "recipes: its messages are in its log on the host" grep -q ': again$' /var/log/devlog/web/messages
	systemctl stop $unit
	soon "recipes: its receiver ends" fails eval "devlog-hook list | grep -q web"
done
rm -r /etc/systemd/system/$unit.d
systemctl daemon-reload
want "recipes: no unit has failed" no_failed_units
ended 17
