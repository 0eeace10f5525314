#!/bin/bash
# build.sh SUITE DIR: builds a host with Debian SUITE in the new directory DIR:
# disk.img, kernel and initrd. It takes some five minutes and 2 GB, as root, and
# needs the network. What depends on devlog is not in it: that is on the second
# disk, which run.sh makes. Whoever changes this file gets new hosts.
set -euo pipefail
here=$(realpath "$(dirname "$0")")
suite=$1 dir=$2
root=$dir/root
export DEBIAN_FRONTEND=noninteractive LC_ALL=C INITRD=No

# The mirrors that this machine uses, or else Debian's own.
uris=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/*.sources 2>/dev/null || :
  sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' /etc/apt/sources.list 2>/dev/null || :)
mirror=$(grep -v security <<<"$uris" | head -n 1) || mirror=http://deb.debian.org/debian
security=$(grep security <<<"$uris" | head -n 1) || security=http://deb.debian.org/debian-security

packages=(systemd systemd-sysv dbus udev libpam-systemd kmod iproute2 procps strace apparmor
  lxc libpam-cgfs podman containernetworking-plugins iptables crun runc docker.io busybox-static)
case $suite in
trixie) packages+=(docker-cli passt docker-compose incus-base incus-client systemd-container) ;;
esac

in_root() { chroot "$root" "$@"; }
install_in_root() { in_root apt-get -qq -y --no-install-recommends "$@"; }
# debs PACKAGE...: they lie in /var/debs/PACKAGE with what they need.
debs() {
  mkdir -p "$root/var/debs/$1"
  install_in_root -d -o Dir::Cache::archives="/var/debs/$1" install "$@"
}

system() {
  debootstrap --variant=minbase --include=ca-certificates,apt-utils "$suite" "$root" "$mirror"
  {
    echo "deb $mirror $suite main"
    echo "deb $security $suite-security main"
    [ "$suite" = bullseye ] || echo "deb $mirror $suite-updates main"
  } >"$root/etc/apt/sources.list"
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # nothing is started here
  chmod 755 "$root/usr/sbin/policy-rc.d"
  printf 'path-exclude=/usr/share/%s/*\n' doc man locale >"$root/etc/dpkg/dpkg.cfg.d/slim"
  mount --bind /proc "$root/proc" # in a mount namespace of our own
  in_root apt-get -qq update
  install_in_root install "${packages[@]}"
  # A mirror may lack the package that depends on the newest kernel, or that kernel:
  # then it is an older one of the same series.
  local kernel=linux-image-cloud-amd64 series
  series=$(in_root apt-cache depends $kernel | grep -o 'linux-image-[0-9]*\.[0-9]*' | head -n 1)
  for kernel in $kernel $(in_root apt-cache -n search "^$series\..*-cloud-amd64\$" | cut -d' ' -f1 | sort -rV); do
    install_in_root install "$kernel" && break
  done
  # Syslog daemons, to be installed without a network.
  debs rsyslog rsyslog-relp
  debs syslog-ng-core
  umount "$root/proc"
  rm -rf "$root/usr/sbin/policy-rc.d" "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
}

settings() {
  echo "$suite" >"$root/etc/hostname"
  echo "127.0.0.1 localhost $suite" >"$root/etc/hosts"
  echo '/dev/vda / ext4 defaults 0 1' >"$root/etc/fstab"
  echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
  sed -i 's/^root:[^:]*:/root::/' "$root/etc/shadow" # for run.sh --shell
  rm -rf "$root/var/log/journal" # of an earlier boot nobody asks the journal
  # There is no network, and these only cost time.
  local unit
  for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    getty@tty1.service lxc-monitord.service lxc-net.service podman-auto-update.service podman-auto-update.timer \
    modprobe@.service podman.socket podman.service sys-kernel-debug.mount sys-kernel-tracing.mount systemd-binfmt.service systemd-networkd.service systemd-pstore.service systemd-timesyncd.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
  done
  # Only one scenario wants this.
  [ "$suite" != trixie ] || in_root systemctl disable incus.service incus.socket incus-startup.service
  # lxc.service waits for half a minute for a bridge; it kills what takes longer to end.
  echo 'USE_LXC_BRIDGE="false"' >"$root/etc/default/lxc-net"
  echo 'SHUTDOWNDELAY=60' >>"$root/etc/default/lxc"
  # apparmor.service has loaded LXC's profiles; this compiles them again at each boot.
  mkdir -p "$root/etc/systemd/system/lxc.service.d"
  printf '[Service]\nExecStartPre=\n' >"$root/etc/systemd/system/lxc.service.d/fast.conf"
  ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
  mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
  echo 'DOCKER_OPTS="--bridge=none --iptables=false --ip6tables=false"' >"$root/etc/default/docker"
  cat >"$root/etc/systemd/system/devlog-test.service" <<-'U'
	[Unit]
	Description=Run the scenarios on the second disk
	After=docker.service lxc.service
	ConditionPathExists=/dev/vdb
	[Service]
	ExecStart=/bin/sh -c 'mkdir -p /test && tar -xf /dev/vdb -C /test && exec /test/boot.sh'
	[Install]
	WantedBy=multi-user.target
	U
  ln -sf ../devlog-test.service "$root/etc/systemd/system/multi-user.target.wants/"
}

# The root directory of the containers.
image() {
  local to=$root/srv/bb applet
  mkdir -p "$to"/{bin,sbin,etc,proc,sys,dev,run,tmp,var/log,opt,root,truth,usr/bin}
  cp "$root/bin/busybox" "$to/bin/"
  for applet in sh logger sleep cat ls ln rm echo mount umount readlink grep ps id kill true false date tail head env mkdir touch; do
    ln -sf busybox "$to/bin/$applet"
  done
  echo 'root:x:0:0:root:/root:/bin/sh' >"$to/etc/passwd"
  : >"$to/loop" # to be mounted over
  chmod 755 "$to/loop"
  tar -C "$to" -cf "$root/srv/bb.tar" .
}

# An initial file system with the modules for the disk, and no more: Debian's own
# takes much longer.
initrd() {
  local to=$dir/initial version module file name names=()
  version=$(ls "$root/lib/modules")
  mkdir -p "$to"/{bin,proc,sys,dev,mnt,modules}
  cp "$root/bin/busybox" "$to/bin/"
  ln -s busybox "$to/bin/sh"
  for module in virtio_pci virtio_blk ext4 crc32c_generic; do
    while read -r file; do
      name=$(basename "$file" | sed 's/\.\(xz\|zst\)$//')
      [[ " ${names[*]} " = *" $name "* ]] && continue
      names+=("$name")
      case $file in
      *.xz) xz -dc "$root$file" ;;
      *.zst) zstd -qdc "$root$file" ;;
      *) cat "$root$file" ;;
      esac >"$to/modules/$name"
    done < <(in_root modprobe -S "$version" --show-depends $module 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p')
  done
  cat >"$to/init" <<-I
	#!/bin/busybox sh
	alias b=/bin/busybox
	b mount -t proc proc /proc
	b mount -t sysfs sysfs /sys
	b mount -t devtmpfs dev /dev
	for m in ${names[*]}; do b insmod /modules/\$m || echo "no \$m"; done
	until [ -b /dev/vda ]; do b sleep 0.1; done
	b mount -t ext4 /dev/vda /mnt || exec b sh
	b mount -o move /dev /mnt/dev
	b umount /proc /sys
	exec /bin/busybox switch_root /mnt /sbin/init
	I
  chmod 755 "$to/init"
  (cd "$to" && find . | cpio -o -H newc --quiet | gzip -1) >"$dir/initrd"
  cp "$root"/boot/vmlinuz-* "$dir/kernel"
}

disk() {
  truncate -s 5G "$dir/disk.img"
  # Without what Debian 11's kernel does not know.
  mkfs.ext4 -q -F -O ^metadata_csum_seed,^orphan_file -d "$root" "$dir/disk.img"
}

# What the first boot alone does is done: the profiles of AppArmor are compiled, and
# the engines have their directories, and the image.
first_boot() {
  mkdir "$dir/test"
  cat >"$dir/test/boot.sh" <<-'B'
	#!/bin/bash
	{
	podman import /srv/bb.tar localhost/bb && podman run --rm --network none localhost/bb true &&
	docker import /srv/bb.tar bb && docker run --rm --network none bb true &&
	systemctl is-active lxc.service && echo built
	systemctl --failed
	} >/dev/ttyS1 2>&1
	rm -rf /test
	systemctl --no-block poweroff
	B
  chmod 755 "$dir/test/boot.sh"
  tar -C "$dir/test" -cf "$dir/test.tar" .
  timeout 900 "$here/boot.sh" "$dir" "$dir/disk.img" "$dir/test.tar" -serial "file:$dir/console" -serial "file:$dir/said"
  cat "$dir/console" "$dir/said"
  tr -d '\r' <"$dir/said" | grep -qx built
}

# Mounts that are made here are in no other namespace, and go with this process.
[ "${PRIVATE-}" ] || PRIVATE=1 exec unshare --mount --propagation private "$0" "$@"
mkdir -p "$dir"
[ -d "$root" ] || system
settings
image
initrd
disk
first_boot
rm -rf "$root" "$dir"/{initial,test,test.tar,console,said}
