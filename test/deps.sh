#!/bin/bash
# Installs what the tests use, where something is missing: container runtimes,
# syslog clients and a C compiler. Without root or apt-get it only says what is
# missing; the tests then skip what needs it.
set -euo pipefail
# command:package
needed="runc:runc crun:crun lxc-start:lxc podman:podman busybox:busybox-static logger:bsdutils gcc:gcc
  nsenter:util-linux"
packages=()
for n in $needed; do
  PATH=$PATH:/usr/sbin:/sbin command -v "${n%%:*}" >/dev/null || packages+=("${n##*:}")
done
[[ -e /usr/include/stdio.h ]] || packages+=(libc6-dev)
((${#packages[@]})) || exit 0
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
  echo "deps: missing here: ${packages[*]}" >&2
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq -y install --no-install-recommends "${packages[@]}" >/dev/null
