#!/bin/bash
# Installs what the tests use, where something is missing: container runtimes,
# syslog clients and a C compiler. Without root or apt-get it only says what is
# missing; the tests then skip what needs it.
set -euo pipefail
# command:package
needed="runc:runc crun:crun lxc-start:lxc podman:podman busybox:busybox-static logger:bsdutils gcc:gcc
  nsenter:util-linux python3:python3 perl:perl strace:strace musl-gcc:musl-tools
  rpm:rpm curl:curl mkfs.ext4:e2fsprogs bsdtar:libarchive-tools zsh:zsh fish:fish"
packages=()
for n in $needed; do
  PATH=$PATH:/usr/sbin:/sbin command -v "${n%%:*}" >/dev/null || packages+=("${n##*:}")
done
[[ -e /usr/include/stdio.h ]] || packages+=(libc6-dev)

cache=${XDG_CACHE_HOME:-/var/cache}/devlog-test
# These are only unpacked, with what they are linked with: each syslog daemon
# would replace the others, init what the machine itself uses, the engines would
# be started by their installation, and the kernel would run by qemu what is of
# another architecture. A|B is A, or B on a release without A; A? is left out where it is
# unknown; and A is At64 where Debian 13 calls it that.
declare -A unpacks=(
  [daemons]="rsyslog libestr0 libfastjson4 syslog-ng-core libivykis0 libjson-c5 libnet1 libpcre3? libpcre2-8-0 libwrap0
    libglib2.0-0 libssl3"
  [shipping]="rsyslog-relp librelp0 syslog-ng-mod-http"
  [journal]="python3-systemd"
  [init]="sysvinit-core"
  [systemd]="systemd libsystemd-shared libsystemd0 libacl1 libapparmor1 libargon2-1 libaudit1 libblkid1 libc6
    libcap-ng0 libcap2 libcrypt1 libcryptsetup12 libdevmapper1.02.1 libfdisk1 libgcc-s1 libgcrypt20 libgpg-error0
    libip4tc2 libjson-c5 libkmod2 liblz4-1 liblzma5 libmount1 libp11-kit0 libffi8 libpam0g libpcre2-8-0 libseccomp2
    libselinux1 libssl3 libudev1 libuuid1 libzstd1 mount zlib1g"
  [supervisors]="s6 libs6-2.11|libs6-2.13 libskarnet2.13|libskarnet2.14t64 execline libexecline2.9 runit"
  [openrc]="openrc libeinfo1 librc1"
  [programs]="nginx haproxy libopentracing1 libopentracing-c-wrapper0 liblua5.3-0? liblua5.4-0?
    openssh-server openssh-client libwtmpdb0? cron cron-daemon-common postfix libtlsrpt0? postgresql-15|postgresql-17
    postgresql-client-15|postgresql-client-17 postgresql-common sudo libwrap0 libtirpc3 libicu72|libicu76
    libldap-2.5-0|libldap2 libsasl2-2 libnsl2 libpq5 libxml2 libgssapi-krb5-2 libk5crypto3 libkrb5-3 libkrb5support0 libkeyutils1
    libcom-err2 libssl3 libpcre2-8-0 libdb5.3 libjemalloc2"
  [chroots]="bind9 bind9-libs libjemalloc2 liblmdb0 libmaxminddb0 libfstrm0 libprotobuf-c1 libuv1 libnghttp2-14 libjson-c5 liburcu8?"
  [engines]="docker.io docker-cli? containerd libdevmapper1.02.1 libsystemd0"
  [qemu]="qemu-user-static qemu-user"
)

# The names are those of Debian 12 and 13. Where one of them is unknown, the tests that need the
# set are skipped, unless DEVLOG_TEST_REQUIRE is set.
#
# unpacked NAME says that the programs are there: the directory gets its name
# last.
unpacked() { [[ -d $cache/$1 ]]; }

# known NAME: whether this release has a package of that name.
known() { [[ $(apt-cache policy "$1" 2>/dev/null) == *"Candidate: "[^\(]* ]]; }

# names WORD...: the names of those packages on this release, one a line.
names() {
  local word name
  for word; do
    for name in ${word//|/ }; do
      for name in "${name%\?}" "${name%\?}t64"; do
        ! known "$name" || break 2
      done
    done
    if known "$name"; then
      echo "$name"
    elif [[ $word != *\? ]]; then
      echo "$word" # apt-get says that it is unknown
    fi
  done
}

unpack() {
  local made list
  mkdir -p "$cache"
  made=$(mktemp -d "$cache/unpack.XXXXXX")
  mkdir "$made/debs" "$made/root"
  # shellcheck disable=SC2086 # a list of words
  mapfile -t list < <(names ${unpacks[$1]})
  # apt reads as another user, who may not enter here.
  if ! (cd "$made/debs" && apt-get -qq -o APT::Sandbox::User=root download "${list[@]}"); then
    rm -rf "$made"
    return 1
  fi
  for deb in "$made"/debs/*.deb; do dpkg -x "$deb" "$made/root"; done
  # Debian 13 has everything below /usr.
  for dir in bin sbin lib lib64; do
    [[ -e $made/root/$dir || ! -e $made/root/usr/$dir ]] || ln -s "usr/$dir" "$made/root/$dir"
  done
  chmod 755 "$made/root"
  # Another run may have been quicker: its directory is as good.
  mv -T "$made/root" "$cache/$1" 2>/dev/null || unpacked "$1"
  rm -rf "$made"
}

lacking=()
for name in "${!unpacks[@]}"; do unpacked "$name" || lacking+=("$name"); done
((${#packages[@]} + ${#lacking[@]})) || exit 0
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
  echo "deps: missing here: ${packages[*]} ${lacking[*]/#/$cache/}" >&2
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
((${#packages[@]} == 0)) || apt-get -qq -y install --no-install-recommends "${packages[@]}" >/dev/null
failed=()
for name in "${lacking[@]}"; do unpack "$name" || failed+=("$name"); done
((${#failed[@]} == 0)) || {
  echo "deps: these packages cannot be downloaded on this release: ${failed[*]}; tests that need them are skipped" >&2
  [[ -z ${DEVLOG_TEST_REQUIRE-} ]]
}
