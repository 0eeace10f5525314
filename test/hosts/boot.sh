#!/bin/bash
# boot.sh HOST DISK TEST [OPTION...]: boots the host that build.sh has made in the
# directory HOST, from DISK, a copy of its own, with the archive TEST as its second
# disk, and qemu's options. It ends when the host is switched off.
host=$1 disk=$2 test=$3
shift 3
# KVM is nowhere to be relied on. A guest without a network has no surprises.
exec qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 2048 -nodefaults -no-user-config -display none -nic none \
  -kernel "$host/kernel" -initrd "$host/initrd" \
  -append "root=/dev/vda rw console=ttyS0 panic=-1 mitigations=off quiet systemd.show_status=1" \
  -drive "file=$disk,format=raw,if=virtio,cache=unsafe" -drive "file=$test,format=raw,if=virtio,readonly=on" \
  -device virtio-rng-pci "$@"
